drop index tasks_export_idx;
