//! The server: accepts clients, reads requests within limits, hands actions to the main thread.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::time::Duration;

use device_core::thread::{self, Running};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, SERVER};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use super::connection::{Patient, Unread};
use super::manner::ApiManner;
use super::refusals;
use super::routes::{self, Answer, Asked, Found, InstanceInfo, Refused};
use super::socket::ApiSocket;
use crate::action::{Action, ActionError, Call, ErrorKind, Mailbox, Outcome};
use crate::dialect::{deprecated, fault};
use crate::observe::events::{self, Event, Events, Follower};
use crate::observe::requests::Requests;

/// What clients may use, and how long they may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Clients at once; further ones are turned away.
    clients: usize,
    /// Of those, so many at once are let read why.
    turned_away: usize,
    /// Clients that follow events at once.
    followers: usize,
    /// Bytes of a request's head, and of its body.
    head: usize,
    body: usize,
    /// From one request's end to the end of the next one's head.
    head_time: Duration,
    body_time: Duration,
    /// Without a byte of an answer read.
    write_time: Duration,
    /// Between two signs of life to who follows events that do not happen.
    beat_time: Duration,
    /// For answers on their way when the VMM ends.
    end_time: Duration,
}

const LIMITS: Limits = Limits {
    clients: 128,
    turned_away: 64,
    followers: 32,
    head: 16 << 10,
    body: 50 << 10,
    head_time: Duration::from_secs(60),
    body_time: Duration::from_secs(10),
    write_time: Duration::from_secs(10),
    beat_time: Duration::from_secs(30),
    end_time: Duration::from_millis(500),
};

/// What a server is like, and where it counts.
#[derive(Clone)]
pub struct Service {
    /// How it is to its clients.
    pub manner: ApiManner,
    /// What they have asked for.
    pub requests: Arc<Requests>,
    /// Bytes of a body at most, if not the usual.
    pub max_body: Option<usize>,
}

/// A running server.
pub struct Api {
    /// Dropping it ends the server.
    stop: Option<watch::Sender<()>>,
    thread: Option<Running>,
    /// Removed when the server is gone.
    _socket: ApiSocket,
}

impl Api {
    /// Starts the thread that serves on `socket`, once it has shut itself in by `shut`. Fails if that does, or the
    /// host has no thread or descriptor left.
    pub fn start(
        socket: ApiSocket,
        mailbox: Arc<Mailbox>,
        events: Arc<Events>,
        service: Service,
        shut: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Api> {
        let body = service.max_body.unwrap_or(LIMITS.body);
        Api::start_within(Limits { body, ..LIMITS }, socket, mailbox, events, service, shut)
    }

    fn start_within(
        limits: Limits,
        socket: ApiSocket,
        mailbox: Arc<Mailbox>,
        events: Arc<Events>,
        service: Service,
        shut: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Api> {
        let listener = socket.listener()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(());
        let name = service.manner.thread;
        let server = Server { limits, mailbox, events, service };
        let (ready, begun) = mpsc::sync_channel(1);
        let body = move || {
            runtime.block_on(async {
                let listener = UnixListener::from_std(listener).and_then(|listener| {
                    shut()?;
                    Ok(listener)
                });
                match listener {
                    Ok(listener) => {
                        // The one who is told waits below.
                        let _ = ready.send(Ok(()));
                        server.serve(listener, stopped).await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        };
        let thread = thread::start(name, body)?;
        begun.recv().map_err(io::Error::other)??;
        Ok(Api { stop: Some(stop), thread: Some(thread), _socket: socket })
    }

    /// As dropping, in words: answers on their way are sent, and the socket is removed.
    pub fn finish(self) {}
}

impl Drop for Api {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.finish();
        }
    }
}

#[derive(Clone)]
pub(super) struct Server {
    limits: Limits,
    mailbox: Arc<Mailbox>,
    events: Arc<Events>,
    service: Service,
}

impl Server {
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn new(mailbox: Arc<Mailbox>, events: Arc<Events>, service: Service) -> Server {
        Server { limits: LIMITS, mailbox, events, service }
    }

    /// Attends one client, until he goes.
    #[cfg(any(test, feature = "testing"))]
    pub(super) async fn attend_alone(self, stream: UnixStream) {
        let (_stop, stopped) = watch::channel(());
        self.attend(stream, stopped).await;
    }

    async fn serve(self, listener: UnixListener, mut stopped: watch::Receiver<()>) {
        let (mut clients, mut turned_away) = (JoinSet::new(), JoinSet::new());
        loop {
            let accepted = tokio::select! {
                _ = stopped.changed() => break,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!("the API cannot accept a client: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            while turned_away.try_join_next().is_some() {}
            if self.has_room(&mut clients).await {
                clients.spawn(self.clone().attend(stream, stopped.clone()));
            } else if turned_away.len() < self.limits.turned_away {
                turned_away.spawn(self.clone().turn_away(stream));
            } else {
                self.turn_away_at_once(stream);
            }
        }
        drop(listener);
        let all = async { while clients.join_next().await.is_some() {} };
        // Who is not done by then is cut off.
        let _ = tokio::time::timeout(self.limits.end_time, all).await;
    }

    /// Whether one more client can be attended. Those who have gone are missed before one who has come
    /// is turned away.
    async fn has_room(&self, clients: &mut JoinSet<()>) -> bool {
        // A turn of the runtime is for about half of them.
        for _ in 0..4 {
            while clients.try_join_next().is_some() {}
            if clients.len() < self.limits.clients {
                return true;
            }
            tokio::task::yield_now().await;
        }
        false
    }

    /// Tells a client that there is no room for him, before he has said anything.
    async fn turn_away(self, stream: UnixStream) {
        let stream = Patient::new(stream, self.limits.write_time, Arc::new(true.into()));
        stream.say_last(self.no_room().as_bytes()).await;
    }

    /// The same to one of very many, who may be too slow to hear it.
    fn turn_away_at_once(&self, stream: UnixStream) {
        if let Ok(mut stream) = stream.into_std() {
            let _ = io::Write::write(&mut stream, self.no_room().as_bytes());
        }
    }

    /// The answer to one client too many, which is logged.
    fn no_room(&self) -> String {
        let message =
            format!("{} clients are connected, and no more can be; try again", self.limits.clients);
        refusals::tell_unread("one client more", StatusCode::SERVICE_UNAVAILABLE, &message);
        let body = fault(&message);
        format!(
            "HTTP/1.1 503 Service Unavailable\r\nServer: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.service.manner.server,
            body.len()
        )
    }

    /// One client, from first to last request.
    async fn attend(self, stream: UnixStream, mut stopped: watch::Receiver<()>) {
        let unread = Unread::default();
        let io = TokioIo::new(Patient::new(stream, self.limits.write_time, unread.clone()));
        let limits = self.limits;
        let service = service_fn(move |request| {
            let (server, unread) = (self.clone(), unread.clone());
            async move { Ok::<_, Infallible>(server.answer(request, &unread).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_time)
            .max_buf_size(limits.head)
            // A client that has nothing more to say still hears the answers.
            .half_close(true)
            .serve_connection(io, service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // What is wrong with a client is his trouble alone.
            _ = connection.as_mut() => return,
            _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }

    async fn answer(&self, request: Request<Incoming>, unread: &Unread) -> Response<Content> {
        let manner = &self.service.manner;
        let (mut head, body) = request.into_parts();
        head.uri = (manner.resource)(head.uri);
        let Parts { method, uri, .. } = head;
        let mut is_deprecated = false;
        let answer = self.try_answer(&method, &uri, body, unread, &mut is_deprecated).await;
        let (status, message, closes) = match answer.and_then(|answer| self.show(answer)) {
            Ok(mut response) => {
                if manner.tells_requests {
                    refusals::tell_done(response.status());
                }
                self.sign(&mut response, is_deprecated);
                return response;
            }
            Err(Trouble::Refused(refused)) => {
                let message = (manner.refused)(method.as_str(), uri.path(), &refused);
                (StatusCode::BAD_REQUEST, message, false)
            }
            Err(Trouble::Failed(error)) => {
                let status = match error.kind() {
                    ErrorKind::Invalid | ErrorKind::NotFound | ErrorKind::NotNow => {
                        StatusCode::BAD_REQUEST
                    }
                    ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
                    ErrorKind::Host => manner.host_failed,
                };
                match (manner.failed)(method.as_str(), uri.path(), &error) {
                    Some(message) => (status, message, false),
                    None => {
                        let mut response = respond(StatusCode::NO_CONTENT, None);
                        self.sign(&mut response, is_deprecated);
                        return response;
                    }
                }
            }
            Err(Trouble::Body { status, message, closes }) => (status, message, closes),
        };
        refusals::tell(&method, &uri, status, &message);
        let mut response = respond(status, Some(fault(&message)));
        self.sign(&mut response, is_deprecated);
        if closes {
            // What is left of the body is not read.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Says in the head who answers, and that the request has a field which the dialect will lose.
    fn sign(&self, response: &mut Response<Content>, is_deprecated: bool) {
        let headers = response.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static(self.service.manner.server));
        if is_deprecated {
            headers.insert("Deprecation", HeaderValue::from_static("true"));
        }
    }

    async fn try_answer(
        &self,
        method: &Method,
        uri: &Uri,
        body: Incoming,
        unread: &Unread,
        is_deprecated: &mut bool,
    ) -> Result<Answer, Trouble> {
        unread.store(!body.is_end_stream(), Ordering::Relaxed);
        let route = routes::find(method, uri)?;
        let body = self.read(body).await?;
        unread.store(false, Ordering::Relaxed);
        if self.service.manner.tells_requests {
            refusals::tell_request(method, uri, &body);
        }
        let (method, path) = route.kind();
        if let Some(field) = deprecated::field(method, path, &body) {
            *is_deprecated = true;
            self.service.requests.add_deprecated();
            refusals::tell_deprecated(method, path, field);
        }
        let answer = self.do_what(&route, &body).await;
        self.service.requests.add(method, path, answer.is_err());
        answer
    }

    async fn do_what(&self, route: &Found, body: &[u8]) -> Result<Answer, Trouble> {
        match route.read(body)? {
            Asked::Show(answer) => Ok(answer),
            Asked::Act(action) => {
                let reply = self.act(action).await.map_err(Trouble::Failed)?;
                Ok(route.show(reply)?)
            }
        }
    }

    async fn read(&self, body: Incoming) -> Result<Bytes, Trouble> {
        let too_large = || Trouble::Body {
            status: self.service.manner.too_large,
            message: format!("the body is larger than {} bytes", self.limits.body),
            closes: true,
        };
        // As announced; none of it need come, and nobody is told to go on.
        if body.size_hint().lower() > self.limits.body as u64 {
            return Err(too_large());
        }
        let body = Limited::new(body, self.limits.body).collect();
        let body =
            tokio::time::timeout(self.limits.body_time, body).await.map_err(|_| Trouble::Body {
                status: StatusCode::REQUEST_TIMEOUT,
                message: "the body took too long to come".into(),
                closes: true,
            })?;
        body.map(|body| body.to_bytes()).map_err(|error| {
            if error.is::<LengthLimitError>() {
                too_large()
            } else {
                let message = format!("bad body: {error}");
                Trouble::Body { status: StatusCode::BAD_REQUEST, message, closes: false }
            }
        })
    }

    /// Has the main thread do it.
    async fn act(&self, action: Action) -> Outcome {
        let (reply, outcome) = oneshot::channel::<Outcome>();
        // A client that is gone needs no answer.
        let reply = Box::new(move |outcome| drop(reply.send(outcome)));
        self.mailbox.put(Call { action, reply });
        outcome.await.unwrap_or(Err(ActionError::Ending))
    }

    fn show(&self, answer: Answer) -> Result<Response<Content>, Trouble> {
        Ok(match answer {
            Answer::Done => respond(StatusCode::NO_CONTENT, None),
            Answer::Json(text) => respond(StatusCode::OK, Some(text)),
            Answer::Text(kind, text) => {
                let mut response = respond(StatusCode::OK, Some(text));
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
                response
            }
            Answer::Events(state) => return self.follow(state),
            Answer::Config(config) => {
                let config = (self.service.manner.config)(config);
                respond(StatusCode::OK, Some(config.to_string()))
            }
            Answer::Instance(instance) => {
                let ApiManner { app_name, version, .. } = self.service.manner;
                let info = InstanceInfo::new(instance, app_name, version);
                respond(StatusCode::OK, serde_json::to_string(&info).ok())
            }
        })
    }

    fn follow(&self, state: String) -> Result<Response<Content>, Trouble> {
        match self.events.follow(&Event::Hello { state }, self.limits.followers) {
            Some(follower) => {
                let beat = tokio::time::interval(self.limits.beat_time);
                let mut response = Response::new(Either::Right(Lines { follower, beat }));
                let kind = HeaderValue::from_static("application/jsonl");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                Ok(response)
            }
            None => Err(Trouble::Body {
                status: StatusCode::BAD_REQUEST,
                message: format!("{} clients follow already", self.limits.followers),
                closes: false,
            }),
        }
    }
}

/// Why a request is not answered as its client hoped.
enum Trouble {
    /// It makes no sense.
    Refused(Refused),
    /// The machine did not do it.
    Failed(ActionError),
    /// It did not come as it should, or its answer cannot go as it should.
    Body {
        status: StatusCode,
        message: String,
        /// Whether what follows on the connection cannot be told from it.
        closes: bool,
    },
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Trouble {
        Trouble::Refused(refused)
    }
}

type Content = Either<Full<Bytes>, Lines>;

fn respond(status: StatusCode, body: Option<String>) -> Response<Content> {
    let has_body = body.is_some();
    let mut response = Response::new(Either::Left(Full::from(body.unwrap_or_default())));
    *response.status_mut() = status;
    if has_body {
        let kind = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}

/// Events as a body without an end. From time to time it says that there was nothing to say: by that
/// a client who is gone is noticed.
struct Lines {
    follower: Follower,
    beat: tokio::time::Interval,
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Lines { follower, beat } = self.get_mut();
        let frame = |line: &str| Ok(Frame::data(Bytes::copy_from_slice(line.as_bytes())));
        if let Poll::Ready(line) = follower.poll_line(context) {
            beat.reset();
            return Poll::Ready(line.map(|line| frame(&line)));
        }
        beat.poll_tick(context).map(|_| Some(frame(&events::line(&Event::Alive))))
    }
}

#[cfg(test)]
#[path = "server_test.rs"]
mod tests;
