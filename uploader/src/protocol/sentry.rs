//! What a Sentry-like server is called and answers: a DSN is an address with a key and a project in it.

use reqwest::Url;
use serde_json::Value;

use crate::delivery::{Answer, Verdict, quote};

/// Where envelopes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address, without the key.
    pub url: String,
    /// `X-Sentry-Auth`.
    pub authority: String,
}

/// The endpoint that a DSN such as `https://<key>@host/<project>` names.
///
/// # Errors
/// What it lacks, as a sentence.
pub fn endpoint(dsn: &str) -> Result<Endpoint, String> {
    let wrong =
        || "[Upload] Url= is no DSN: a Sentry server shows it as https://<key>@<host>/<project>".to_owned();
    let mut url = Url::parse(dsn).map_err(|_| wrong())?;
    let key = url.username().to_owned();
    let path = url.path().trim_end_matches('/').to_owned();
    let (before, project) = path.rsplit_once('/').ok_or_else(wrong)?;
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !plain(&key) || !plain(project) {
        return Err(wrong());
    }
    url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| wrong())?;
    url.set_path(&format!("{before}/api/{project}/envelope/"));
    url.set_query(None);
    let client = concat!("foretrace/", env!("CARGO_PKG_VERSION"));
    let authority = format!("Sentry sentry_version=7, sentry_client={client}, sentry_key={key}");
    Ok(Endpoint { url: url.into(), authority })
}

/// What the answer says beyond its status. A Relay's 200 does not mean stored, but nobody can know more.
pub fn told(answer: &Answer, name: &str) -> Option<Verdict> {
    let said = serde_json::from_slice::<Value>(&answer.body).ok();
    match answer.status {
        200..=299 if answer.body.is_empty() => Some(Verdict::Stored { remote_id: name.to_owned() }),
        200..=299 => {
            let id = said?.as_object()?.get("id").and_then(Value::as_str).map(quote);
            Some(Verdict::Stored { remote_id: id.unwrap_or_else(|| name.to_owned()) })
        }
        status @ (400 | 401 | 403 | 404 | 413) => {
            let detail = said.as_ref().and_then(|said| said.get("detail")?.as_str());
            let detail = quote(detail.or(answer.header("x-sentry-error"))?);
            Some(match status {
                400 | 413 => {
                    Verdict::Refused { why: format!("the server refused it: {detail} (status {status})") }
                }
                _ => Verdict::Again {
                    why: format!(
                        "the server does not let us in: {detail} (status {status}); check the DSN in [Upload] Url="
                    ),
                    doubtful: false,
                    wait: None,
                },
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_names_the_endpoint_and_the_key_stays_out_of_the_address() {
        for (dsn, url) in [
            ("https://abc123@sentry.example.org/42", "https://sentry.example.org/api/42/envelope/"),
            ("https://abc123:old@sentry.example.org/42/", "https://sentry.example.org/api/42/envelope/"),
            ("http://abc123@127.0.0.1:8000/sub/7?x=1", "http://127.0.0.1:8000/sub/api/7/envelope/"),
        ] {
            let endpoint = endpoint(dsn).unwrap();
            assert_eq!(endpoint.url, url);
            assert!(endpoint.authority.ends_with("sentry_key=abc123"));
        }
        for wrong in
            ["https://sentry.example.org/42", "https://abc@sentry.example.org/", "abc", "https://a%0ab@x/1"]
        {
            assert!(endpoint(wrong).unwrap_err().contains("DSN"), "{wrong}");
        }
    }
}
