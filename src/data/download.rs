//! Files from the first mirror that delivers them whole.

use std::time::Duration;

use crate::Result;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For one file from one mirror, unless it is so large that it needs longer.
const OVERALL_TIMEOUT: Duration = Duration::from_secs(200);
/// What a mirror has to deliver in a second.
const SLOWEST: u64 = 50_000;
/// A file that replaces one of MNIST's (9.9 MB gzipped) may be larger, but not without limit.
const MAX_BYTES: u64 = 32 << 20;

pub(super) struct Downloader {
    /// Folders of files, each ending in a slash, tried in this order.
    pub mirrors: Vec<String>,
    pub max_bytes: u64,
    agent: ureq::Agent,
}

impl Downloader {
    /// For files of up to so many bytes. Uses the proxy that the environment names (`HTTPS_PROXY` and its relatives), if
    /// any.
    pub fn for_files_of(mirrors: &[&str], bytes: u64) -> Self {
        let timeout = OVERALL_TIMEOUT.max(Duration::from_secs(bytes / SLOWEST));
        let downloader = Self::with_config(mirrors, timeout, ureq::Agent::config_builder());
        Downloader { max_bytes: MAX_BYTES.max(bytes), ..downloader }
    }

    fn with_config(
        mirrors: &[&str],
        overall_timeout: Duration,
        config: ureq::config::ConfigBuilder<ureq::typestate::AgentScope>,
    ) -> Self {
        let config = config
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(overall_timeout))
            .user_agent(concat!("wgrad/", env!("CARGO_PKG_VERSION")))
            .build();
        let mirrors = mirrors.iter().map(|m| m.to_string()).collect();
        Downloader { mirrors, max_bytes: MAX_BYTES, agent: config.into() }
    }

    /// The bytes of `file` and what `accept` made of them (given where they came from, for its errors),
    /// from the first mirror whose copy arrives and is accepted.
    ///
    /// # Errors
    ///
    /// No mirror did: one line for each, with its address and the reason.
    pub fn download<T>(
        &self,
        file: &str,
        accept: impl Fn(&str, &[u8]) -> Result<T>,
    ) -> Result<(Vec<u8>, T), Vec<String>> {
        let mut reasons = Vec::new();
        for mirror in &self.mirrors {
            let url = format!("{mirror}{file}");
            match self.get(&url) {
                Ok(bytes) => match accept(&url, &bytes) {
                    Ok(accepted) => return Ok((bytes, accepted)),
                    Err(error) => reasons.push(error.to_string()),
                },
                Err(error) => reasons.push(format!("{url}: {error}")),
            }
        }
        Err(reasons)
    }

    fn get(&self, url: &str) -> Result<Vec<u8>, ureq::Error> {
        let mut response = self.agent.get(url).call()?;
        response.body_mut().with_config().limit(self.max_bytes).read_to_vec()
    }
}

/// An HTTP server on the loopback interface that serves canned answers.
#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use std::collections::HashMap;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Clone)]
    pub enum Answer {
        Whole(Vec<u8>),
        /// Claims the length of all bytes, then hangs up after half of them.
        CutOff(Vec<u8>),
        /// Half of the bytes without a length, so that the client can't tell from HTTP that some are missing.
        CutOffSilently(Vec<u8>),
        /// Claims a body and sends none, for longer than a test should take.
        Stalled,
    }

    pub struct Server {
        pub url: String,
        pub requests: Arc<AtomicUsize>,
    }

    impl Server {
        /// The thread lives until the test process ends. Paths without an answer get a 404.
        pub fn start(answers: HashMap<String, Answer>) -> Server {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/mnist/", listener.local_addr().unwrap());
            let requests = Arc::new(AtomicUsize::new(0));
            let counter = requests.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    counter.fetch_add(1, Ordering::Relaxed);
                    let mut lines = BufReader::new(&stream).lines().map_while(|line| line.ok());
                    let request = lines.next().unwrap_or_default();
                    lines.take_while(|line| !line.is_empty()).for_each(drop);
                    let path = request.split(' ').nth(1).unwrap_or_default();
                    let file = path.strip_prefix("/mnist/").unwrap_or_default();
                    let head = |status: &str, length: &str| {
                        format!("HTTP/1.1 {status}\r\n{length}Connection: close\r\n\r\n").into_bytes()
                    };
                    let length = |bytes: &[u8]| format!("Content-Length: {}\r\n", bytes.len());
                    let response = match answers.get(file) {
                        Some(Answer::Whole(b)) => [head("200 OK", &length(b)), b.clone()].concat(),
                        Some(Answer::CutOff(b)) => {
                            [head("200 OK", &length(b)), b[..b.len() / 2].to_vec()].concat()
                        }
                        Some(Answer::CutOffSilently(b)) => {
                            [head("200 OK", ""), b[..b.len() / 2].to_vec()].concat()
                        }
                        Some(Answer::Stalled) => Vec::new(),
                        None => head("404 Not Found", "Content-Length: 0\r\n"),
                    };
                    if let Some(Answer::Stalled) = answers.get(file) {
                        let _ = (&stream).write_all(&head("200 OK", "Content-Length: 9\r\n"));
                        std::thread::sleep(Duration::from_secs(20));
                    }
                    // A client that has given up (size limit) closes early.
                    let _ = (&stream).write_all(&response);
                }
            });
            Server { url, requests }
        }
    }

    /// An address at which nobody listens.
    pub fn dead_mirror() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/mnist/", listener.local_addr().unwrap())
    }

    /// Goes straight to the loopback interface, whatever proxy the environment names.
    pub fn downloader(mirrors: &[&str]) -> Downloader {
        downloader_with_timeout(mirrors, OVERALL_TIMEOUT)
    }

    pub fn downloader_with_timeout(mirrors: &[&str], overall_timeout: Duration) -> Downloader {
        Downloader::with_config(mirrors, overall_timeout, ureq::Agent::config_builder().proxy(None))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{Answer, Server, dead_mirror, downloader, downloader_with_timeout};
    use super::*;
    use crate::Error;
    use std::sync::atomic::Ordering;

    fn accept_all(_: &str, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn server(answer: Answer) -> Server {
        Server::start([("file".to_string(), answer)].into())
    }

    #[test]
    fn the_second_mirror_helps_when_the_first_is_down() {
        let (dead, server) = (dead_mirror(), server(Answer::Whole(b"content".into())));
        let (bytes, ()) = downloader(&[&dead, &server.url]).download("file", accept_all).unwrap();
        assert_eq!(bytes, b"content");
    }

    #[test]
    fn the_second_mirror_helps_when_the_first_has_something_else() {
        let (bad, good) = (server(Answer::Whole(b"bad".into())), server(Answer::Whole(b"good".into())));
        let accept = |url: &str, bytes: &[u8]| match bytes {
            b"good" => Ok(url.to_string()),
            _ => Err(Error::data(url, "unexpected")),
        };
        let (_, url) = downloader(&[&bad.url, &good.url]).download("file", accept).unwrap();
        assert!(url.starts_with(&good.url));
        assert_eq!(bad.requests.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn when_all_fail_each_is_named_with_its_reason() {
        let (dead, cut_off) = (dead_mirror(), server(Answer::CutOff(vec![1; 5000])));
        let missing = Server::start(Default::default());
        let mirrors = [dead.as_str(), &cut_off.url, &missing.url];
        let reasons = downloader(&mirrors).download("file", accept_all).unwrap_err();
        assert_eq!(reasons.len(), 3);
        for (reason, mirror) in reasons.iter().zip(mirrors) {
            assert!(reason.starts_with(mirror), "{reason}");
        }
        assert!(reasons[2].contains("404"), "{}", reasons[2]);
    }

    #[test]
    fn a_body_over_the_limit_is_refused() {
        let server = server(Answer::Whole(vec![1; 5000]));
        let mut downloader = downloader(&[&server.url]);
        downloader.max_bytes = 4999;
        assert!(downloader.download("file", accept_all).is_err());
        downloader.max_bytes = 5000;
        assert!(downloader.download("file", accept_all).is_ok());
    }

    #[test]
    fn a_mirror_that_stalls_is_given_up() {
        let (stalled, good) = (server(Answer::Stalled), server(Answer::Whole(b"content".into())));
        let started = std::time::Instant::now();
        let alone = downloader_with_timeout(&[&stalled.url], Duration::from_millis(200));
        let reasons = alone.download("file", accept_all).unwrap_err();
        assert!(reasons[0].contains("timeout"), "{}", reasons[0]);
        // The same thread of the server is still busy, so this one never even answers.
        let both = downloader_with_timeout(&[&stalled.url, &good.url], Duration::from_secs(1));
        assert!(both.download("file", accept_all).is_ok());
        assert!(started.elapsed() < Duration::from_secs(15));
    }
}
