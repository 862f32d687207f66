//! The connection of one subscriber.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use super::subscribers::Subscription;
use crate::mqtt::codec::Packet;
use crate::mqtt::connection::{Closed, Connection, keep_alive_timeout};
use crate::mqtt::filter::SubscribeRefusal;
use crate::shutdown::Shutdown;

/// Serves a subscriber until it disconnects, its credentials expire or another connection uses them.
pub async fn serve<S>(
    connection: &mut Connection<S>,
    mut subscription: Subscription,
    keep_alive_s: u16,
    now_ms: i64,
    shutdown: &mut Shutdown,
) -> Result<(), Closed>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let keep_alive_timeout = keep_alive_timeout(keep_alive_s);
    let left = Duration::from_millis(u64::try_from(subscription.expires_ms - now_ms).unwrap_or(0));
    let mut end = Box::pin(sleep(left));
    let mut is_subscribed = false;
    connection.flush().await?;
    loop {
        while let Some(packet) = connection.codec.next_packet()? {
            match packet {
                Packet::Subscribe(id, filters) => {
                    let is_own = |filter: &str| filter == subscription.topic;
                    is_subscribed |= filters.iter().any(|(filter, _)| is_own(filter));
                    let granted =
                        |(filter, qos): &(String, _)| is_own(filter).then_some(*qos).ok_or(SubscribeRefusal::NotOwn);
                    connection.codec.subscribe_ack(id, filters.iter().map(granted).collect());
                }
                Packet::Unsubscribe(id, filters) => {
                    let gone = filters.iter().map(|filter| is_subscribed && *filter == subscription.topic).collect();
                    is_subscribed &= !filters.contains(&subscription.topic);
                    connection.codec.unsubscribe_ack(id, gone);
                }
                Packet::PingRequest => connection.codec.ping_response(),
                Packet::PublishAck => {}
                // Commands are sent by the cloud API.
                Packet::Publish(_) | Packet::Connect(_) | Packet::Disconnect { .. } => return Err(Closed),
            }
        }
        connection.flush().await?;
        let quiet = async {
            loop {
                tokio::select! {
                    filled = connection.read() => return filled,
                    message = subscription.messages.recv() => {
                        let message = message.ok_or(Closed)?;
                        if is_subscribed {
                            connection.codec.publish(&subscription.topic, message);
                            connection.flush().await?;
                        }
                    }
                    () = &mut end => return Err(Closed),
                    () = shutdown.begun() => return Err(Closed),
                }
            }
        };
        timeout(keep_alive_timeout, quiet).await.map_err(|_| Closed)??;
    }
}
