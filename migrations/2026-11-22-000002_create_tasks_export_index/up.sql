create index tasks_export_idx on tasks (id) include (title, done, asset_id, created_by_id, updated_by_id);
