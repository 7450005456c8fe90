//! A client of the API that waits for each answer.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// How long an answer may take; a start reads kernels from slow disks.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot connect to {}; is a VMM running with --api-sock?", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the VMM speaks no HTTP")]
    Http(#[from] hyper::Error),
    #[error("the VMM does not answer")]
    Silent,
    #[error("cannot wait for the VMM")]
    Wait(#[from] io::Error),
    #[error("no request can be made of {0}")]
    Path(String),
    #[error("{0}")]
    Refused(String),
    #[error("the VMM's answer is no JSON")]
    Json(#[from] serde_json::Error),
}

/// A connection to one VMM.
pub struct Client {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Connects to the socket at `path`. Fails if nobody listens there.
    pub fn connect(path: &Path) -> Result<Client, ClientError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let connect = async {
            let stream = UnixStream::connect(path)
                .await
                .map_err(|source| ClientError::Connect { path: path.into(), source })?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Its errors are told to the requests that wait.
            tokio::spawn(async { drop(connection.await) });
            Ok::<_, ClientError>(sender)
        };
        let sender = runtime.block_on(connect)?;
        Ok(Client { runtime, sender })
    }

    /// The answer to GET. Fails if it is an error or no JSON.
    pub fn get(&mut self, path: &str) -> Result<Value, ClientError> {
        Ok(serde_json::from_str(&self.text(path)?)?)
    }

    /// An answer that is no JSON.
    pub fn text(&mut self, path: &str) -> Result<String, ClientError> {
        self.ask(Method::GET, path, None)
    }

    /// Whatever the answer to DELETE is. Fails if that is an error.
    pub fn remove(&mut self, path: &str) -> Result<(), ClientError> {
        self.ask(Method::DELETE, path, None).map(drop)
    }

    /// Sends PUT. Fails if the answer is an error.
    pub fn put(&mut self, path: &str, body: &Value) -> Result<(), ClientError> {
        self.ask(Method::PUT, path, Some(body)).map(drop)
    }

    /// The answer to PUT. Fails if it is an error or no JSON.
    pub fn put_for(&mut self, path: &str, body: &Value) -> Result<Value, ClientError> {
        Ok(serde_json::from_str(&self.ask(Method::PUT, path, Some(body))?)?)
    }

    /// The same of what takes as long as it takes.
    pub fn put_for_long(&mut self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let Client { runtime, sender } = self;
        let text = runtime.block_on(answer(sender, request(Method::PUT, path, Some(body))?))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Sends PATCH. Fails if the answer is an error.
    pub fn patch(&mut self, path: &str, body: &Value) -> Result<(), ClientError> {
        self.ask(Method::PATCH, path, Some(body)).map(drop)
    }

    /// The answer to POST. Fails if it is an error or no JSON.
    pub fn post(&mut self, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        Ok(serde_json::from_str(&self.ask(Method::POST, path, body)?)?)
    }

    /// The answer to DELETE. Fails if it is an error or no JSON.
    pub fn delete(&mut self, path: &str) -> Result<Value, ClientError> {
        Ok(serde_json::from_str(&self.ask(Method::DELETE, path, None)?)?)
    }

    /// Hands over what comes, until there is no more.
    pub fn follow(
        &mut self,
        path: &str,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let request = request(Method::GET, path, None)?;
        let Client { runtime, sender } = self;
        runtime.block_on(async {
            let mut body = judge(sender.send_request(request).await?).await?;
            while let Some(frame) = body.frame().await {
                if let Some(bytes) = frame?.data_ref() {
                    take(bytes).map_err(OutputError)?;
                }
            }
            Ok(())
        })
    }

    fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<String, ClientError> {
        let request = request(method, path, body)?;
        let Client { runtime, sender } = self;
        let answer = answer(sender, request);
        runtime.block_on(async {
            tokio::time::timeout(PATIENCE, answer).await.map_err(|_| ClientError::Silent)?
        })
    }
}

async fn answer(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<String, ClientError> {
    sender.ready().await?;
    let body = judge(sender.send_request(request).await?).await?;
    let bytes = body.collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn request(
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Request<Full<Bytes>>, ClientError> {
    let content = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header("Host", "localhost");
    request.body(Full::from(content)).map_err(|_| ClientError::Path(path.to_string()))
}

/// The body of a good answer, or the message of another.
async fn judge(response: Response<Incoming>) -> Result<Incoming, ClientError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response.into_body());
    }
    let bytes = response.into_body().collect().await?.to_bytes();
    let fault: Option<Value> = serde_json::from_slice(&bytes).ok();
    let message = fault.as_ref().and_then(|fault| fault["fault_message"].as_str());
    Err(ClientError::Refused(match (message, status) {
        (Some(message), _) => message.to_string(),
        (None, StatusCode::PAYLOAD_TOO_LARGE) => "the request is too large".to_string(),
        (None, status) => format!("the VMM answers {status}"),
    }))
}

/// What was asked cannot be shown.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub struct OutputError(#[from] pub io::Error);

/// The path of a card, or of a `part` of it that begins with `/`.
pub fn nic_path(id: &str, part: &str) -> String {
    format!("/network-interfaces/{id}{part}")
}

/// The path of a disk, or of a `part` of it that begins with `/`.
pub fn disk_path(id: &str, part: &str) -> String {
    format!("/drives/{id}{part}")
}
