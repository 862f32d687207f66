//! The contract of `Downlink`. What a whole server sends to its devices is in `tests/gateway/commands.rs`, and virtual devices
//! are part of the demo in `tests/cli`.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use ingle::domain::command::{Command, Undelivered};
use ingle::domain::presence::{Lease, NodeId};
use ingle::domain::{Device, Downlink, Value};
use ingle::gateway::CommandRouter;

use crate::store::contract::{id, on_engines};
use crate::support::world::{PLUG, SCALE};

/// Answers the first command that waits; false if none does.
type Answer = Box<dyn Fn(Result<String, Undelivered>) -> bool>;

/// An implementation, and what begins a session at its other end.
struct Subject {
    downlink: Arc<dyn Downlink>,
    begin: Box<dyn Fn(Lease) -> Answer>,
}

fn implementations() -> Vec<Subject> {
    let router = Arc::new(CommandRouter::new(std::time::Duration::from_secs(8), std::time::Duration::from_secs(5)));
    let downlink = router.clone();
    let begin = move |lease| -> Answer {
        let (mailbox, waiting) = (Arc::default(), Mutex::new(VecDeque::new()));
        router.register(lease, &mailbox);
        Box::new(move |answer| {
            let mut waiting = waiting.lock().unwrap();
            waiting.extend(mailbox.take().commands);
            waiting.pop_front().is_some_and(|command| command.answer.send(answer).is_ok())
        })
    };
    vec![Subject { downlink, begin: Box::new(begin) }]
}

/// Runs a part of the contract on each implementation, with two devices that have no session.
fn on_each(part: impl AsyncFn(Subject, Arc<Device>, Arc<Device>)) {
    on_engines(async |registry, first, _| {
        let plug = registry.device(first, &id(PLUG)).await.unwrap().unwrap();
        let scale = registry.device(first, &id(SCALE)).await.unwrap().unwrap();
        for subject in implementations() {
            part(subject, plug.clone(), scale.clone()).await;
        }
    });
}

fn lease(device: &Device, epoch: u64) -> Lease {
    Lease { device: device.no, owner: NodeId(1), epoch }
}

fn service() -> Command {
    Command::Do { name: "restart".to_owned(), input: Value::from_json("{}").unwrap() }
}

/// Sends a command and answers it at the other end with the next answer.
async fn answered(
    subject: &Subject,
    device: &Arc<Device>,
    session: &Answer,
    answer: Result<String, Undelivered>,
) -> Result<String, Undelivered> {
    let at_the_device = async {
        while !session(answer.clone()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(subject.downlink.command(device, service()), at_the_device).0
}

#[test]
fn without_a_session_a_device_is_offline() {
    on_each(async |subject, plug, scale| {
        let _of_scale = (subject.begin)(lease(&scale, 1));
        subject.downlink.end_session(plug.no).await;
        assert_eq!(subject.downlink.command(&plug, service()).await, Err(Undelivered::Offline));
    });
}

#[test]
fn a_command_gets_the_answer_of_its_device() {
    on_each(async |subject, plug, scale| {
        let of_plug = (subject.begin)(lease(&plug, 1));
        let of_scale = (subject.begin)(lease(&scale, 2));
        let done = Ok(r#"{"done":true}"#.to_owned());
        assert_eq!(answered(&subject, &plug, &of_plug, done.clone()).await, done);
        let refused = Err(Undelivered::Refused);
        assert_eq!(answered(&subject, &scale, &of_scale, refused.clone()).await, refused);
        assert!(!of_plug(done), "nothing is sent twice, or to another device");
    });
}

#[test]
fn the_session_with_the_latest_lease_gets_the_commands() {
    on_each(async |subject, plug, _| {
        let second = (subject.begin)(lease(&plug, 2));
        // It acquired its lease earlier, and is registered later.
        let first = (subject.begin)(lease(&plug, 1));
        let done = Ok("{}".to_owned());
        assert_eq!(answered(&subject, &plug, &second, done.clone()).await, done);
        let third = (subject.begin)(lease(&plug, 3));
        assert_eq!(answered(&subject, &plug, &third, done.clone()).await, done);
        assert!(!first(done.clone()) && !second(done));
    });
}

#[test]
fn a_command_that_waits_follows_its_device() {
    on_each(async |subject, plug, _| {
        let first = (subject.begin)(lease(&plug, 1));
        let device_moves = async {
            // The command has been sent when this is polled.
            let second = (subject.begin)(lease(&plug, 2));
            assert!(!first(Ok("of the first".to_owned())));
            assert!(second(Ok("of the second".to_owned())));
        };
        let (answer, ()) = tokio::join!(biased; subject.downlink.command(&plug, service()), device_moves);
        assert_eq!(answer, Ok("of the second".to_owned()));
    });
}

#[test]
fn commands_that_nobody_takes_are_bounded() {
    on_each(async |subject, plug, _| {
        let session = (subject.begin)(lease(&plug, 1));
        let mut waiting = Vec::new();
        let busy = loop {
            assert!(waiting.len() < 10_000, "the queue has a limit");
            let (downlink, device) = (subject.downlink.clone(), plug.clone());
            let mut sent = Box::pin(async move { downlink.command(&device, service()).await });
            match std::future::poll_fn(|context| Poll::Ready(sent.as_mut().poll(context))).await {
                Poll::Pending => waiting.push(sent),
                Poll::Ready(result) => break result,
            }
        };
        assert_eq!(busy, Err(Undelivered::Busy));
        // A caller that has gone gets nothing, and its command is not sent.
        let last = waiting.pop().unwrap();
        drop(waiting);
        let answers = std::iter::repeat_with(|| session(Ok("{}".to_owned()))).take(10_000);
        assert_eq!(answers.filter(|is_awaited| *is_awaited).count(), 1);
        assert_eq!(last.await, Ok("{}".to_owned()));
    });
}
