//! Answers that are sent piece by piece, while their content is made.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;

/// A body of the pieces that a channel delivers. It ends when the channel is closed.
pub struct Pieces(mpsc::Receiver<Bytes>);

/// The body of an answer with these pieces.
pub fn body_of(pieces: mpsc::Receiver<Bytes>) -> Pieces {
    Pieces(pieces)
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
