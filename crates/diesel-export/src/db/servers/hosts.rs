//! The hosts of a connection string, one by one. libpq would choose among them again for every connection, but all connections of an export
//! must lead to one server.

use super::super::libpq::{self, InvalidUrl};
use super::Role;
use super::monitor::State;

/// Defaults for a connection string: the last of the times in milliseconds, the others in seconds. With them, a host that disappears
/// silently blocks a connection for seconds; with the system's own defaults, for hours.
const PATIENT: [(&str, &str); 5] = [
    ("connect_timeout", "5"),
    ("keepalives_idle", "10"),
    ("keepalives_interval", "5"),
    ("keepalives_count", "3"),
    ("tcp_user_timeout", "20000"),
];

/// Returns the connection string, with the settings that make libpq give up on a host that has disappeared silently, and with the
/// application's name. Its own settings win, and, for the name, PGAPPNAME.
pub fn patient(url: &str, application: &str) -> Result<String, InvalidUrl> {
    let mut options = libpq::options(url)?;
    add_patience(&mut options, application);
    Ok(connection_string(options.iter().map(|(keyword, value)| {
        (keyword.as_str(), value.as_str())
    })))
}

fn add_patience(options: &mut Vec<(String, String)>, application: &str) {
    let name = ("fallback_application_name", application);
    for (keyword, value) in PATIENT.into_iter().chain([name]) {
        if options.iter().all(|(given, _)| given != keyword) {
            options.push((keyword.into(), value.into()));
        }
    }
}

/// Writes a connection string for libpq, of keywords and quoted values.
fn connection_string<'o>(options: impl Iterator<Item = (&'o str, &'o str)>) -> String {
    let mut string = String::new();
    for (keyword, value) in options {
        let value = value.replace('\\', r"\\").replace('\'', r"\'");
        string += &format!("{keyword}='{value}' ");
    }
    string
}

/// Which hosts of a connection string are suitable: libpq's `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attributes {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

impl Attributes {
    /// Returns whether a server in this state is suitable.
    pub(super) fn accept(self, state: &State) -> bool {
        match self {
            Self::Any | Self::PreferStandby => true,
            Self::ReadWrite => !state.read_only,
            Self::ReadOnly => state.read_only,
            Self::Primary => state.role == Role::Primary,
            Self::Standby => state.role == Role::Replica,
        }
    }
}

/// The hosts of a connection string. It may hold a password.
#[derive(Clone)]
pub struct Hosts {
    pub(super) attributes: Attributes,
    /// Whether the suitable hosts share the exports: libpq's `load_balance_hosts`, but on by default.
    pub(super) balanced: bool,
    /// The address of each host, and a connection string for it alone.
    pub(super) hosts: Vec<(String, String)>,
}

impl std::fmt::Debug for Hosts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_list()
            .entries(self.hosts.iter().map(|(address, _)| address))
            .finish()
    }
}

impl Hosts {
    /// Reads a connection string as libpq does. The servers know the connections by the application's name, as in [`patient`].
    pub fn parse(url: &str, application: &str) -> Result<Self, InvalidUrl> {
        let mut options = libpq::options(url)?;
        let mut take = |name: &str| {
            let place = options.iter().position(|(keyword, _)| keyword == name);
            place.map(|place| options.remove(place).1)
        };
        let attributes = match take("target_session_attrs").as_deref() {
            None | Some("any") => Attributes::Any,
            Some("read-write") => Attributes::ReadWrite,
            Some("read-only") => Attributes::ReadOnly,
            Some("primary") => Attributes::Primary,
            Some("standby") => Attributes::Standby,
            Some("prefer-standby") => Attributes::PreferStandby,
            Some(_) => return Err(InvalidUrl),
        };
        let balanced = take("load_balance_hosts").as_deref() != Some("disable");
        let [names, addresses, ports] = ["host", "hostaddr", "port"].map(|name| {
            let list = take(name).unwrap_or_default();
            list.split(',').map(str::to_owned).collect::<Vec<_>>()
        });
        add_patience(&mut options, application);
        let count = names.len().max(addresses.len());
        // A single port is for all hosts; `host` or `hostaddr` may be unset.
        let fits = |list: &[String], one: bool| list.len() == count || (one && list.len() == 1);
        let unset = |list: &[String]| list == [String::new()];
        if !(fits(&names, unset(&names))
            && fits(&addresses, unset(&addresses))
            && fits(&ports, true))
        {
            return Err(InvalidUrl);
        }
        let hosts = (0..count).map(|index| {
            let [name, address, port] = [&names, &addresses, &ports]
                .map(|list| list.get(index).unwrap_or(&list[0]).as_str());
            let own = [("host", name), ("hostaddr", address), ("port", port)];
            let own = own.into_iter().filter(|(_, value)| !value.is_empty());
            let common = options
                .iter()
                .map(|(keyword, value)| (keyword.as_str(), value.as_str()));
            let string = connection_string(own.chain(common));
            let or = |value: &str, default: &str| {
                if value.is_empty() {
                    default.to_owned()
                } else {
                    value.to_owned()
                }
            };
            let named = if name.is_empty() { address } else { name };
            (
                format!("{}:{}", or(named, "localhost"), or(port, "5432")),
                string,
            )
        });
        let hosts = hosts.collect();
        Ok(Self {
            attributes,
            balanced,
            hosts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(url: &str) -> Vec<(String, String)> {
        Hosts::parse(url, "shop")
            .map(|hosts| hosts.hosts)
            .unwrap_or_default()
    }

    #[test]
    fn each_host_gets_a_connection_string_of_its_own() {
        let hosts = hosts(
            "postgresql://me:a'%5C%20b@one,two:7000/cmms?sslmode=require&target_session_attrs=standby",
        );
        let addresses: Vec<&str> = hosts.iter().map(|(address, _)| address.as_str()).collect();
        assert_eq!(addresses, ["one:5432", "two:7000"]);
        for (host, (_, string)) in ["one", "two"].iter().zip(&hosts) {
            let mut options = libpq::options(string).unwrap_or_default();
            options.sort();
            let expected = [
                ("connect_timeout", "5"),
                ("dbname", "cmms"),
                ("fallback_application_name", "shop"),
                ("host", host),
                ("keepalives_count", "3"),
                ("keepalives_idle", "10"),
                ("keepalives_interval", "5"),
                ("password", r"a'\ b"),
                ("port", "7000"),
                ("sslmode", "require"),
                ("tcp_user_timeout", "20000"),
                ("user", "me"),
            ];
            let expected = expected
                .iter()
                .filter(|(name, _)| *name != "port" || *host == "two");
            let expected: Vec<_> = expected
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect();
            assert_eq!(options, expected);
        }
    }

    #[test]
    fn patience_is_added_to_what_the_url_says_and_no_more() {
        let options = |url: &str| {
            let mut options =
                libpq::options(&patient(url, "shop").unwrap_or_default()).unwrap_or_default();
            options.sort();
            options
        };
        let given =
            "postgresql://me:a'%5C%20b@one,two:7000/cmms?connect_timeout=9&tcp_user_timeout=0";
        let expected = [
            ("connect_timeout", "9"),
            ("dbname", "cmms"),
            ("fallback_application_name", "shop"),
            ("host", "one,two"),
            ("keepalives_count", "3"),
            ("keepalives_idle", "10"),
            ("keepalives_interval", "5"),
            ("password", r"a'\ b"),
            ("port", ",7000"),
            ("tcp_user_timeout", "0"),
            ("user", "me"),
        ];
        assert_eq!(
            options(given),
            expected.map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        assert!(patient("x=y", "").is_err());
    }

    #[test]
    fn sockets_and_one_port_for_all_are_understood() {
        let addresses = |url| {
            hosts(url)
                .into_iter()
                .map(|(address, _)| address)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            addresses("postgresql://cmms@/cmms?host=/run/a,/run/b&port=5433"),
            ["/run/a:5433", "/run/b:5433"]
        );
        assert_eq!(addresses("host=a,b port=1,2"), ["a:1", "b:2"]);
        assert_eq!(
            addresses("hostaddr=127.0.0.1,127.0.0.2"),
            ["127.0.0.1:5432", "127.0.0.2:5432"]
        );
        assert_eq!(addresses("dbname=cmms"), ["localhost:5432"]);
    }

    #[test]
    fn what_libpq_would_refuse_is_refused() {
        for url in [
            "postgresql://a:b:c/",
            "host=a,b port=1,2,3",
            "host=a,b hostaddr=127.0.0.1",
            "target_session_attrs=best",
            "x=y",
        ] {
            assert!(Hosts::parse(url, "").is_err(), "{url}");
        }
    }
}
