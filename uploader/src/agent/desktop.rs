//! The desktop's notifications over D-Bus (org.freedesktop.Notifications): a text with buttons, and which was pressed.
//!
//! Believes only signals of the process that owns the notifications' name, and only for the notification at hand. It
//! knows nothing of reports.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Result;
use zbus::Message;
use zbus::blocking::fdo::DBusProxy;
use zbus::blocking::{Connection, Proxy};
use zbus::fdo::{RequestNameFlags, RequestNameReply};
use zbus::names::BusName;
use zbus::zvariant::Value;

/// Notifications' name on the bus, and their interface.
const NOTIFICATIONS: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";
/// One agent in a session holds this name.
const AGENT: &str = "org.foretrace.Agent";
/// A question that nobody has answered by then is taken down.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How often it is made sure that somebody still shows the notification.
const CHECK: Duration = Duration::from_secs(1);

/// The session's bus.
pub struct Desktop {
    connection: Connection,
    // Signals of whoever shows notifications; the channel ends with the bus.
    signals: Mutex<Receiver<Message>>,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The first line.
    pub title: String,
    /// The rest; plain text.
    pub body: String,
    /// The buttons: name and label.
    pub actions: Vec<(&'static str, String)>,
}

/// What became of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This button was pressed.
    Action(String),
    /// It was closed, it expired, or whoever showed it is gone.
    Silence,
}

impl Desktop {
    /// Connects; `None` where another agent of this session is there already.
    ///
    /// # Errors
    /// No session bus.
    pub fn join() -> Result<Option<Desktop>> {
        let connection = Connection::session()?;
        let flags = RequestNameFlags::DoNotQueue.into();
        let reply = DBusProxy::new(&connection)?.request_name(AGENT.try_into()?, flags)?;
        if reply != RequestNameReply::PrimaryOwner {
            return Ok(None);
        }
        let (send, signals) = mpsc::channel();
        let heard = notifications(&connection)?.receive_all_signals()?;
        // Ends with the bus, or when the agent does.
        std::thread::spawn(move || heard.map(|signal| send.send(signal)).find(Result::is_err));
        Ok(Some(Desktop { connection, signals: Mutex::new(signals) }))
    }

    /// Whether somebody shows notifications with buttons.
    pub fn can_ask(&self) -> bool {
        self.capabilities().is_some_and(|all| all.iter().any(|one| one == "actions"))
    }

    /// Waits; `false` when the bus is gone.
    pub fn rest(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if let Err(RecvTimeoutError::Disconnected) = self.hear(left) {
                return false;
            }
        }
        true
    }

    /// Shows a question and waits for what becomes of it.
    ///
    /// # Errors
    /// It cannot be shown.
    pub fn ask(&self, notice: &Notice) -> Result<Answer> {
        let shower = self.shower();
        let id = self.show(notice)?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match self.hear(CHECK) {
                Ok(signal) => {
                    if let Some(answer) = meant(&signal, id) {
                        // Answered once, its buttons would do nothing any more.
                        self.close(id);
                        return Ok(answer);
                    }
                }
                Err(RecvTimeoutError::Timeout) if self.shower() == shower => {}
                Err(_) => return Ok(Answer::Silence),
            }
        }
        self.close(id);
        Ok(Answer::Silence)
    }

    /// Shows something that wants no answer.
    ///
    /// # Errors
    /// It cannot be shown.
    pub fn tell(&self, notice: &Notice) -> Result<()> {
        self.show(notice)?;
        Ok(())
    }

    fn show(&self, notice: &Notice) -> Result<u32> {
        let marked_up = self.capabilities().is_some_and(|all| all.iter().any(|one| one == "body-markup"));
        let body = if marked_up { marked(&notice.body) } else { notice.body.clone() };
        let actions: Vec<&str> =
            notice.actions.iter().flat_map(|(name, label)| [*name, label.as_str()]).collect();
        let hints: HashMap<&str, Value<'_>> =
            [("urgency", Value::U8(1)), ("desktop-entry", Value::from("foretrace"))].into_iter().collect();
        let usual_time = -1i32;
        let what =
            ("foretrace", 0u32, "dialog-warning", notice.title.as_str(), body, actions, hints, usual_time);
        Ok(notifications(&self.connection)?.call("Notify", &what)?)
    }

    /// Takes a notification down. Whether that succeeds does not matter: nobody waits for an answer to it any more.
    fn close(&self, id: u32) {
        let _ = notifications(&self.connection).and_then(|it| it.call_method("CloseNotification", &(id,)));
    }

    fn capabilities(&self) -> Option<Vec<String>> {
        notifications(&self.connection).ok()?.call("GetCapabilities", &()).ok()
    }

    /// Who shows notifications now.
    fn shower(&self) -> Option<String> {
        let name = BusName::try_from(NOTIFICATIONS).ok()?;
        let owner = DBusProxy::new(&self.connection).ok()?.get_name_owner(name).ok()?;
        Some(owner.to_string())
    }

    fn hear(&self, time: Duration) -> Result<Message, RecvTimeoutError> {
        self.signals.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv_timeout(time)
    }
}

fn notifications(connection: &Connection) -> zbus::Result<Proxy<'static>> {
    Proxy::new(connection, NOTIFICATIONS, PATH, NOTIFICATIONS)
}

/// What a signal says about notification `id`.
fn meant(signal: &Message, id: u32) -> Option<Answer> {
    let header = signal.header();
    match header.member()?.as_str() {
        "ActionInvoked" => {
            let (of, action): (u32, String) = signal.body().deserialize().ok()?;
            (of == id).then_some(Answer::Action(action))
        }
        "NotificationClosed" => {
            let (of, _why): (u32, u32) = signal.body().deserialize().ok()?;
            (of == id).then_some(Answer::Silence)
        }
        _ => None,
    }
}

/// Text in the markup that notifications may have: nothing in it is markup.
fn marked(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_program_says_becomes_markup() {
        assert_eq!(marked("Vec<u8> & <b>"), "Vec&lt;u8&gt; &amp; &lt;b&gt;");
    }
}
