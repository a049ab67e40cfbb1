//! The choices of a filter: assets, locations, users.

use crate::support::{Server, TestDatabase};

use super::{get, page};

#[test]
fn the_choices_come_by_name_and_say_whether_there_are_more() {
    let database = TestDatabase::with(
        "insert into locations select n, case when n <= 200 then 'Hall ' else 'Yard 100% ' end || lpad(n::text, 3, '0')
             from generate_series(1, 250) n;
         insert into assets select n, 'Pump ' || n, '', 1 + n % 3 from generate_series(1, 9) n;
         insert into users values (2, 'same'), (1, 'same'), (3, 'Another')",
    );
    let server = Server::start(&database.url);
    let names = |query: &str| {
        let (status, answer) = get(&server, &format!("/api/filters?{query}"));
        assert_eq!(status, 200, "{query}: {answer}");
        let choices = answer["choices"].as_array().expect("an array");
        let names: Vec<String> = choices
            .iter()
            .map(|choice| {
                format!(
                    "{} {}",
                    choice["id"],
                    choice["name"].as_str().expect("text")
                )
            })
            .collect();
        (names, answer["more"] == true)
    };
    let (all, more) = names("of=locations");
    assert_eq!((all.len(), more), (100, true));
    assert_eq!(
        (all[0].as_str(), all[99].as_str()),
        ("1 Hall 001", "100 Hall 100")
    );
    assert_eq!(names("of=locations&q=YARD").0.len(), 50);
    assert!(!names("of=locations&q=YARD").1);
    assert_eq!(names("of=locations&q=0%25+201").0, ["201 Yard 100% 201"]);
    assert_eq!(names("of=locations&q=h_ll").0, [""; 0]);
    assert_eq!(
        names("of=assets&location_id=2").0,
        ["1 Pump 1", "4 Pump 4", "7 Pump 7"]
    );
    assert_eq!(names("of=assets&location_id=&q=9").0, ["9 Pump 9"]);
    assert_eq!(
        names("of=users&q=").0,
        ["3 Another", "1 same (1)", "2 same (2)"]
    );
}

#[test]
fn what_is_called_so_comes_first_then_what_begins_so_then_what_has_such_a_word() {
    let database = TestDatabase::with(
        "insert into locations select n, 'Location ' || n from generate_series(1, 2000) n;
         insert into users values (1, 'den haag'), (2, 'Hagen'), (3, 'Copenhagen'), (4, 'New hagen'), (5, 'hagen'), (6, '100%'), (7, '1000')",
    );
    let server = Server::start(&database.url);
    let names = |query: &str| -> Vec<String> {
        let (status, answer) = get(&server, &format!("/api/filters?{query}"));
        assert_eq!(status, 200, "{query}: {answer}");
        let choices = answer["choices"].as_array().expect("an array").iter();
        let names = choices.map(|choice| choice["name"].as_str().expect("text").to_owned());
        names.collect()
    };
    let found = names("of=locations&q=location+12");
    assert_eq!(found[..3], ["Location 12", "Location 120", "Location 121"]);
    let found = names("of=locations&q=199");
    let expected = [
        "Location 199",
        "Location 1990",
        "Location 1999",
        "Location 1199",
    ];
    let places = expected.map(|name| found.iter().position(|found| found == name).expect(name));
    assert!(places.is_sorted(), "{places:?}");
    let found = names("of=users&q=HAGEN");
    assert_eq!(
        found[..2]
            .iter()
            .map(|name| name.to_lowercase())
            .collect::<Vec<_>>(),
        ["hagen", "hagen"]
    );
    assert_eq!(found[2..], ["New hagen", "Copenhagen"]);
    assert_eq!(names("of=users&q=100%25"), ["100%"]);
}

#[test]
fn long_lists_are_narrowed_without_a_script_and_keep_what_is_chosen() {
    let database = TestDatabase::with(
        "insert into locations select n, 'Hall ' || lpad(n::text, 4, '0') from generate_series(1, 1000) n",
    );
    let server = Server::start(&database.url);
    let (_, html) = page(&server, "/?location_id=999&done=true");
    assert!(html.contains("<option value=\"999\" selected>Hall 0999</option>"));
    assert!(html.contains("<title>Hall 0999, done · Export tasks</title>"));
    assert_eq!(html.matches("\">Hall ").count(), 100);
    assert!(html.contains("name=\"location_q\""));
    assert!(html.contains("<input type=\"hidden\" name=\"location_id\" value=\"999\">"));
    let (_, html) = page(&server, "/?location_id=999&location_q=ALL+000");
    assert_eq!(html.matches(">Hall 000").count(), 9);
    assert!(html.contains("<option value=\"999\" selected>Hall 0999</option>"));
    assert!(html.contains("value=\"ALL 000\""));
    // The only one that is found is what was meant.
    let (_, html) = page(&server, "/?location_q=0042+hall&done=true");
    assert!(html.contains("<option value=\"42\" selected>Hall 0042</option>"));
    assert!(
        html.contains("/tasks.xlsx?location_id=42&#38;done=true'"),
        "{html}"
    );
}
