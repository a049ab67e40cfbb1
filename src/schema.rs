// @generated automatically by Diesel CLI.

diesel::table! {
    /// A thing that is maintained: a machine, a building, a vehicle.
    assets (id) {
        /// Primary key.
        id -> Int8,
        /// What people call the asset; not unique.
        #[max_length = 100]
        name -> Varchar,
        /// Free text, of any length.
        description -> Text,
        /// Where the asset stands.
        location_id -> Int8,
    }
}

diesel::table! {
    /// A place where assets stand.
    locations (id) {
        /// Primary key.
        id -> Int8,
        /// What people call the place; not unique.
        #[max_length = 100]
        name -> Varchar,
    }
}

diesel::table! {
    /// A piece of work to be done on an asset: the rows of the export.
    tasks (id) {
        /// Primary key, and the order of the export.
        id -> Int8,
        /// What is to be done, in a line.
        #[max_length = 100]
        title -> Varchar,
        /// What is to be done, at length; not exported.
        description -> Text,
        /// Whether the work is done.
        done -> Bool,
        /// The asset that the work is done on.
        asset_id -> Int8,
        /// Who created the task.
        created_by_id -> Int8,
        /// Who last changed the task; NULL where nobody has since its creation.
        updated_by_id -> Nullable<Int8>,
    }
}

diesel::table! {
    /// A person who creates and edits tasks.
    users (id) {
        /// Primary key.
        id -> Int8,
        /// The name that the person logs in with.
        #[max_length = 100]
        username -> Varchar,
    }
}

diesel::joinable!(assets -> locations (location_id));
diesel::joinable!(tasks -> assets (asset_id));

diesel::allow_tables_to_appear_in_same_query!(assets, locations, tasks, users,);
