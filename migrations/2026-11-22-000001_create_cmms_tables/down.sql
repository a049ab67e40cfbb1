-- Children before their parents: every foreign key restricts.
drop table tasks;
drop table users;
drop table assets;
drop table locations;
