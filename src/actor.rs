//! Who makes the change that the running task carries out, for the audit. The room that accepts a connection opens a scope,
//! the extractor that checks the credentials names the actor, and the store reads it when a write is queued. A task without a
//! scope belongs to the server itself.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;

use crate::domain::audit::Actor;

tokio::task_local! {
    static ACTOR: RefCell<Arc<Actor>>;
}

/// Runs a future whose changes belong to an actor.
pub async fn scope<F: Future>(actor: Actor, work: F) -> F::Output {
    ACTOR.scope(RefCell::new(Arc::new(actor)), work).await
}

/// As [`scope`], for a client at this address, whose name is not known yet.
pub async fn scope_of_client<F: Future>(origin: String, work: F) -> F::Output {
    scope(Actor { origin, ..Actor::default() }, work).await
}

/// Changes the actor of the running task, if it has a scope: the credentials of a request have been checked.
pub fn identify(change: impl FnOnce(&mut Actor)) {
    // Reads have no scope, so they pay nothing for the names.
    let _ = ACTOR.try_with(|actor| change(Arc::make_mut(&mut actor.borrow_mut())));
}

/// The actor of the running task.
pub fn current() -> Arc<Actor> {
    ACTOR.try_with(|actor| actor.borrow().clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_has_the_actor_of_its_scope() {
        identify(|actor| actor.name = "outside".to_owned());
        assert_eq!(*current(), Actor::default());
        let inside = scope(Actor { origin: "here".to_owned(), ..Actor::default() }, async {
            identify(|actor| actor.name = "one".to_owned());
            tokio::task::yield_now().await;
            current()
        });
        let inside = inside.await;
        assert_eq!((inside.name.as_str(), inside.origin.as_str()), ("one", "here"));
        assert_eq!(*current(), Actor::default());
    }
}
