//! One connection of a listener, from its CONNECT to its end.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{sleep, timeout};

use super::subscribers::Listening;
use crate::mqtt::codec::Said;
use crate::mqtt::connection::{Gone, Link, silence};
use crate::mqtt::filter::Denied;
use crate::shutdown::Shutdown;

/// Serves a listener until it goes, its time is over, or another connection has its place.
pub async fn serve<S>(
    link: &mut Link<S>,
    mut listening: Listening,
    keep_alive_s: u16,
    now_ms: i64,
    shutdown: &mut Shutdown,
) -> Result<(), Gone>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let silence = silence(keep_alive_s);
    let left = Duration::from_millis(u64::try_from(listening.expires_ms - now_ms).unwrap_or(0));
    let mut end = Box::pin(sleep(left));
    let mut is_subscribed = false;
    link.flush().await?;
    loop {
        while let Some(said) = link.wire.next_packet()? {
            match said {
                Said::Subscribe(id, filters) => {
                    let is_own = |filter: &str| filter == listening.topic;
                    is_subscribed |= filters.iter().any(|(filter, _)| is_own(filter));
                    let granted = |(filter, qos): &(String, _)| is_own(filter).then_some(*qos).ok_or(Denied::NotOwn);
                    link.wire.granted(id, filters.iter().map(granted).collect());
                }
                Said::Unsubscribe(id, filters) => {
                    let gone = filters.iter().map(|filter| is_subscribed && *filter == listening.topic).collect();
                    is_subscribed &= !filters.contains(&listening.topic);
                    link.wire.ungranted(id, gone);
                }
                Said::Ping => link.wire.pong(),
                Said::Acknowledged => {}
                // Commands go by the API.
                Said::Publish(_) | Said::Connect(_) | Said::Goodbye { .. } => return Err(Gone),
            }
        }
        link.flush().await?;
        let quiet = async {
            loop {
                tokio::select! {
                    filled = link.fill() => return filled,
                    message = listening.messages.recv() => {
                        let message = message.ok_or(Gone)?;
                        if is_subscribed {
                            link.wire.publish(&listening.topic, message);
                            link.flush().await?;
                        }
                    }
                    () = &mut end => return Err(Gone),
                    () = shutdown.begun() => return Err(Gone),
                }
            }
        };
        timeout(silence, quiet).await.map_err(|_| Gone)??;
    }
}
