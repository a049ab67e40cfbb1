//! A headless Chromium, controlled through its driver ([WebDriver](https://www.w3.org/TR/webdriver2/)).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

/// WebDriver's name for the id of an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

const AXE: &str = include_str!("../../vendor/axe.min.js");

/// A browser for a test: another test's, if one has ended with it, in a new tab without its cookies and files.
pub struct Browser {
    session: String,
    downloads: tempfile::TempDir,
    running: Option<Running>,
    runs_scripts: bool,
    pool: Arc<Pool>,
}

/// The browsers that no test uses; the last test that uses one ends them.
#[derive(Default)]
struct Pool(Mutex<Vec<(bool, Running)>>);

impl Pool {
    fn get() -> Arc<Self> {
        static SHARED: Mutex<Weak<Pool>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let pool = Arc::default();
            *shared = Arc::downgrade(&pool);
            pool
        })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(bool, Running)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A browser that runs, and its driver.
struct Running {
    driver: Child,
    _stdout: BufReader<ChildStdout>,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser.
    pub fn start() -> Self {
        Self::of(true)
    }

    /// Starts a browser that runs no scripts.
    pub fn without_scripts() -> Self {
        Self::of(false)
    }

    fn of(runs_scripts: bool) -> Self {
        let pool = Pool::get();
        let mut idle = pool.idle();
        let kept = idle.iter().position(|(runs, _)| *runs == runs_scripts);
        let kept = kept.map(|index| idle.remove(index).1);
        drop(idle);
        let is_new = kept.is_none();
        let running = kept.unwrap_or_else(|| Running::start(runs_scripts));
        let browser = Self {
            session: running.session.clone(),
            downloads: directory(),
            running: Some(running),
            runs_scripts,
            pool,
        };
        if !is_new {
            browser.open_in_new_tab();
        }
        let downloads = json!({"behavior": "allow", "downloadPath": browser.downloads.path()});
        browser.devtools("Browser.setDownloadBehavior", &downloads);
        browser
    }

    /// Leaves nothing of another test: what was emulated for its tabs ends with them.
    fn open_in_new_tab(&self) {
        let handles = call(
            "GET",
            &format!("{}/window/handles", self.session),
            &Value::Null,
        );
        let tab = self.post("window/new", &json!({"type": "tab"}));
        for handle in handles.as_array().expect("a list") {
            self.post("window", &json!({"handle": handle}));
            let closed = ureq::delete(format!("{}/window", self.session)).call();
            closed.expect("chromedriver answers");
        }
        self.post("window", &json!({"handle": tab["handle"]}));
        self.devtools("Network.clearBrowserCookies", &json!({}));
        self.devtools("Network.clearBrowserCache", &json!({}));
    }
}

impl Running {
    fn start(runs_scripts: bool) -> Self {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is there: scripts/install-packages browser installs it");
        let mut stdout = BufReader::new(driver.stdout.take().expect("piped"));
        let port = loop {
            let mut line = String::new();
            assert_ne!(
                stdout.read_line(&mut line).expect("text"),
                0,
                "chromedriver does not start"
            );
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim().trim_end_matches('.').to_owned();
            }
        };
        let profile = directory();
        let preferences = match runs_scripts {
            true => json!({"download.prompt_for_download": false}),
            false => {
                json!({"profile.managed_default_content_settings.javascript": 2, "webkit.webprefs.javascript_enabled": false})
            }
        };
        let mut arguments = vec![
            "--headless=new".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            // For the pictures: no subpixel rendering, and no scroll bar.
            "--disable-lcd-text".to_owned(),
            "--hide-scrollbars".to_owned(),
            "--window-size=1280,1000".to_owned(),
            // A name of this machine that browsers do not treat as secure, as that of a service over plain HTTP.
            "--host-resolver-rules=MAP cmms.test 127.0.0.1".to_owned(),
            format!("--user-data-dir={}", profile.path().display()),
        ];
        if nix::unistd::getuid().is_root() {
            arguments.push("--no-sandbox".to_owned());
        }
        let root = format!("http://127.0.0.1:{port}");
        let capabilities = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": arguments, "prefs": preferences}}}});
        let answer = call("POST", &format!("{root}/session"), &capabilities);
        let id = answer["sessionId"].as_str().unwrap_or_else(|| {
            let _ = driver.kill();
            let _ = driver.wait();
            panic!("Chromium does not start: {answer}")
        });
        Self {
            session: format!("{root}/session/{id}"),
            driver,
            _stdout: stdout,
            _profile: profile,
        }
    }
}

impl Browser {
    /// Where the browser saves what it downloads.
    pub fn downloads(&self) -> &Path {
        self.downloads.path()
    }

    /// Opens a page.
    pub fn open(&self, url: &str) {
        self.post("url", &json!({"url": url}));
    }

    /// The page's address.
    pub fn address(&self) -> String {
        call("GET", &format!("{}/url", self.session), &Value::Null)
            .as_str()
            .expect("text")
            .to_owned()
    }

    /// Returns the visible text of an element; empty if there is none.
    pub fn text(&self, selector: &str) -> String {
        match self.find(selector) {
            Some(element) => self.element(&element, "text"),
            None => String::new(),
        }
    }

    /// A property of an element.
    pub fn property(&self, selector: &str, name: &str) -> String {
        self.element(&self.must_find(selector), &format!("property/{name}"))
    }

    /// Clicks on an element.
    pub fn click(&self, selector: &str) {
        // A page that reloads replaces the element, perhaps at this moment.
        self.eventually(&format!("{selector} is clicked on"), || {
            let Some(element) = self.find(selector) else {
                return false;
            };
            let url = format!("{}/element/{element}/click", self.session);
            let answer = call("POST", &url, &json!({}));
            if answer["error"] == "stale element reference" {
                return false;
            }
            if answer["error"] == "element not interactable" && self.opens_around(selector) {
                return false;
            }
            // The element is in the window, but below a bar that stays there: scroll, as a person would.
            if answer["error"] == "element click intercepted" {
                self.run(&format!(
                    "document.querySelector({}).scrollIntoView({{block: 'center'}})",
                    json!(selector)
                ));
                return false;
            }
            assert!(answer["error"].is_null(), "{selector}: {answer}");
            true
        });
    }

    /// Opens the closed `details` that an element is in, as whoever looks for it does. Returns whether there was one.
    fn opens_around(&self, selector: &str) -> bool {
        let open = format!(
            "const closed = document.querySelector({}).closest('details:not([open])'); if (closed) closed.open = true; return closed !== null;",
            json!(selector)
        );
        self.run(&open) == true
    }

    /// Types into an element.
    pub fn type_into(&self, selector: &str, text: &str) {
        self.opens_around(selector);
        let element = self.must_find(selector);
        self.post(&format!("element/{element}/value"), &json!({"text": text}));
    }

    /// Chooses the option that `text` finds in the combobox of a filter.
    pub fn choose(&self, filter: &str, text: &str) {
        const ENTER: char = '\u{e007}';
        self.type_into(&format!("#filter-{filter}-box"), text);
        self.sees(&format!("#filter-{filter}-list"), text);
        self.type_into(&format!("#filter-{filter}-box"), &ENTER.to_string());
    }

    /// Runs a function body in the page, and returns its result.
    pub fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({"script": script, "args": []}))
    }

    /// Sends a command of Chromium's own protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post(
            "goog/cdp/execute",
            &json!({"cmd": command, "params": parameters}),
        )
    }

    /// Shows the page in a window of this width, in light or dark mode.
    pub fn look(&self, width: u32, scheme: &str) {
        self.resize(width, 1000);
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
    }

    fn resize(&self, width: u32, height: u64) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}),
        );
    }

    /// A screenshot of the complete page, as PNG, in a window as high as the page: what stays at the bottom of the window is there.
    pub fn picture(&self, width: u32) -> Vec<u8> {
        let height = self.run("return document.documentElement.scrollHeight");
        self.resize(width, height.as_u64().expect("a number"));
        let picture = self.devtools(
            "Page.captureScreenshot",
            &json!({"format": "png", "captureBeyondViewport": true}),
        );
        base64::engine::general_purpose::STANDARD
            .decode(picture["data"].as_str().expect("text"))
            .expect("base64")
    }

    /// Waits until `condition` holds, as [`eventually`](crate::eventually) does; otherwise fails with a screenshot of the page.
    pub fn eventually(&self, what: &str, condition: impl FnMut() -> bool) {
        let limit = Duration::from_secs(120);
        let pauses = Duration::from_millis(20)..Duration::from_millis(100);
        if !crate::wait(limit, pauses, condition) {
            let text = self.text("body");
            let picture =
                std::env::temp_dir().join(format!("cmms-page-{}.png", std::process::id()));
            std::fs::write(&picture, self.picture(1280)).expect("allowed");
            let picture = picture.display();
            panic!("never happened: {what}; the page is in {picture} and says: {text}");
        }
    }

    /// Waits until an element's text contains `part`.
    pub fn sees(&self, selector: &str, part: &str) {
        self.eventually(&format!("{selector} says {part}"), || {
            self.text(selector).contains(part)
        });
    }

    /// Demands that axe finds no violation in the page, and that nothing overflows the page's width.
    pub fn assert_accessible(&self, what: &str) {
        self.run(AXE);
        self.run(
            "window.found = null; axe.run().then((results) => { window.found = results.violations; });",
        );
        let mut violations = Value::Null;
        self.eventually("axe is done", || {
            violations = self.run("return window.found");
            !violations.is_null()
        });
        assert_eq!(violations, json!([]), "{what}");
        let overflow =
            "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
        assert_eq!(self.run(overflow), 0, "{what}: something sticks out");
    }

    fn find(&self, selector: &str) -> Option<String> {
        let found = self.post(
            "elements",
            &json!({"using": "css selector", "value": selector}),
        );
        Some(found.get(0)?[ELEMENT].as_str()?.to_owned())
    }

    fn must_find(&self, selector: &str) -> String {
        self.find(selector)
            .unwrap_or_else(|| panic!("there is no {selector}"))
    }

    fn element(&self, element: &str, what: &str) -> String {
        let url = format!("{}/element/{element}/{what}", self.session);
        match call("GET", &url, &Value::Null) {
            Value::String(text) => text,
            // The page has replaced the element meanwhile.
            other if other["error"] == "stale element reference" => String::new(),
            other => other.to_string(),
        }
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        let answer = call("POST", &format!("{}/{command}", self.session), body);
        assert!(answer["error"].is_null(), "{command} {body}: {answer}");
        answer
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else {
            return;
        };
        // One of a test that has failed may be in any state.
        if !std::thread::panicking() {
            self.post("url", &json!({"url": "about:blank"}));
            self.pool.idle().push((self.runs_scripts, running));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The driver ends its browser.
        let _ = ureq::delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

fn call(method: &str, url: &str, body: &Value) -> Value {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(120)))
        .build()
        .into();
    let answer = match method {
        "GET" => agent.get(url).call(),
        _ => agent.post(url).send_json(body),
    };
    let mut answer: Value = answer
        .expect("chromedriver answers")
        .body_mut()
        .with_config()
        .limit(100 << 20)
        .read_json()
        .expect("JSON");
    answer["value"].take()
}
