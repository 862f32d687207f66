//! Services that a session's devices were commanded to do, until they respond.

use super::dialect::CommandResponse;
use super::router::Responder;
use crate::domain::DeviceNo;
use crate::domain::command::Undelivered;

/// PendingCalls that are remembered after nobody waits for them any more, so that a late answer is not taken for another's.
const CALLS_MAX: usize = 64;

/// PendingCalls of services, oldest first.
#[derive(Default)]
pub struct PendingCalls(Vec<PendingCall>);

/// One call.
pub struct PendingCall {
    /// Its number, which the message to the device carries as its id.
    pub id: u32,
    /// The device that was asked.
    pub device: DeviceNo,
    /// The service or action.
    pub service: String,
    /// Where its response goes.
    pub answer: Responder,
}

impl PendingCalls {
    /// Adds a call.
    pub fn add(&mut self, call: PendingCall) {
        while self.0.len() >= CALLS_MAX {
            let Some(ended) = self.0.iter().position(|call| call.answer.is_closed()) else { break };
            self.0.remove(ended);
        }
        self.0.push(call);
    }

    /// Completes the call of a response: the one that it names by its number, or else the only open call of
    /// that service of that device, since some devices answer with an id of their own.
    pub fn complete(&mut self, device: DeviceNo, response: CommandResponse) {
        let CommandResponse { id, service, output } = response;
        let is_of =
            |call: &PendingCall| call.device == device && service.as_ref().is_none_or(|name| *name == call.service);
        let named = self.0.iter().position(|call| Some(call.id) == id && is_of(call));
        let at = named.or_else(|| {
            let open = |(at, call): (usize, &PendingCall)| (is_of(call) && !call.answer.is_closed()).then_some(at);
            let mut open = self.0.iter().enumerate().filter_map(open);
            open.next().filter(|_| open.next().is_none())
        });
        if let Some(at) = at {
            let _ = self.0.remove(at).answer.send(output.ok_or(Undelivered::Refused));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    type Waiting = oneshot::Receiver<Result<String, Undelivered>>;

    fn begin(calls: &mut PendingCalls, id: u32, device: i64, service: &str) -> Waiting {
        let (answer, answered) = oneshot::channel();
        calls.add(PendingCall { id, device: DeviceNo(device), service: service.to_owned(), answer });
        answered
    }

    fn answer(calls: &mut PendingCalls, device: i64, id: Option<u32>, service: Option<&str>, output: &str) {
        let service = service.map(str::to_owned);
        calls.complete(DeviceNo(device), CommandResponse { id, service, output: Some(output.to_owned()) });
    }

    fn came(answered: &mut Waiting) -> Option<String> {
        answered.try_recv().ok()?.ok()
    }

    #[test]
    fn an_answer_without_the_number_is_of_the_only_open_call() {
        let mut calls = PendingCalls::default();
        let mut reboot = begin(&mut calls, 1, 7, "reboot");
        let mut dance = begin(&mut calls, 2, 7, "dance");
        // Two calls are open, one of each service; then the other device's; then the service decides.
        answer(&mut calls, 7, Some(99), None, "none");
        answer(&mut calls, 8, Some(1), Some("reboot"), "none");
        answer(&mut calls, 7, Some(1), Some("dance"), "dance");
        assert_eq!((came(&mut reboot), came(&mut dance)), (None, Some("dance".to_owned())));
        answer(&mut calls, 7, None, None, "reboot");
        assert_eq!(came(&mut reboot), Some("reboot".to_owned()));
    }

    #[test]
    fn of_two_open_calls_of_a_service_the_number_decides() {
        let mut calls = PendingCalls::default();
        let (mut first, mut second) = (begin(&mut calls, 1, 7, "reboot"), begin(&mut calls, 2, 7, "reboot"));
        answer(&mut calls, 7, Some(5), Some("reboot"), "none");
        answer(&mut calls, 7, Some(2), Some("reboot"), "second");
        assert_eq!((came(&mut first), came(&mut second)), (None, Some("second".to_owned())));
    }

    #[test]
    fn a_late_answer_is_not_taken_for_another_call() {
        let mut calls = PendingCalls::default();
        drop(begin(&mut calls, 1, 7, "reboot"));
        let mut second = begin(&mut calls, 2, 7, "reboot");
        answer(&mut calls, 7, Some(1), Some("reboot"), "late");
        assert_eq!(came(&mut second), None);
        answer(&mut calls, 7, Some(1000), Some("reboot"), "second");
        assert_eq!(came(&mut second), Some("second".to_owned()));
        (3..1000).for_each(|id| drop(begin(&mut calls, id, 7, "reboot")));
        assert_eq!(calls.0.len(), CALLS_MAX);
    }
}
