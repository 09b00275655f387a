//! Pages for people, probes and Prometheus: /health, /livez, /readyz, /version, /metrics, over HTTP/1.1 and plain HTTP/2.

use super::Shard;
use super::call::Kind;
use super::conn::{Conn, Protocol};
use crate::api::error::Error;
use crate::exchange::ToRaft;
use crate::ops::health::{self, Facts, Probe};
use crate::ops::metrics::{CONTENT_TYPE, ProcessStats, RaftProbe, ServerProbe, ShardProbe, render};
use bytes::Bytes;
use engine::pb::etcdserverpb::RangeRequest;
use engine::replica;
use net::grpc::{RequestHead, StreamId};
use net::h1;
use std::sync::Arc;

/// What /metrics reads from; the same on every shard.
#[derive(Clone)]
pub struct MetricsPage {
    pub shards: Arc<[Arc<ShardProbe>]>,
    pub raft: Arc<RaftProbe>,
    pub server: Arc<ServerProbe>,
}

impl MetricsPage {
    fn render(&self) -> String {
        render(&self.shards, &self.raft, &self.server, &ProcessStats::read())
    }
}

/// Headers of every answer: etcd's defaults for `--cors=*`.
const CORS: [(&str, &str); 3] = [
    ("Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE"),
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Headers", "accept, content-type, authorization"),
];

struct Page {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    body: Bytes,
}

impl From<health::Answer> for Page {
    fn from(answer: health::Answer) -> Self {
        let mut headers = answer.headers;
        headers.push(("Content-Type", answer.content_type));
        Self { status: answer.status, headers, body: answer.body.into() }
    }
}

fn text(status: u16, body: &'static str) -> Page {
    let headers = vec![("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")];
    Page { status, headers, body: Bytes::from_static(body.as_bytes()) }
}

/// A page, or the wish to do a linearizable read first.
enum Step {
    Answer(Page),
    NeedsRead,
}

impl Shard {
    pub(super) fn serve_web(&mut self, conn: &mut Conn) {
        loop {
            let Protocol::Web(web) = &mut conn.protocol else { return };
            let Some(request) = web.poll_request() else {
                // It pauses while much output waits.
                conn.held_back = web.owes_answer();
                return;
            };
            let target = match request.query() {
                Some(query) => format!("{}?{query}", request.path()),
                None => request.path().to_owned(),
            };
            self.serve_page(conn, request.method(), &target, None);
        }
    }

    pub(super) fn serve_page_h2(&mut self, conn: &mut Conn, stream: StreamId, head: &RequestHead) {
        self.serve_page(conn, &head.method, &head.path, Some(stream));
    }

    fn serve_page(&mut self, conn: &mut Conn, method: &str, target: &str, stream: Option<StreamId>) {
        match self.page(method, target) {
            Step::Answer(page) => send(conn, stream, page),
            Step::NeedsRead if self.check_room(conn).is_err() => {
                let page = self.answer_probe(target, Some(Err(Error::TooManyRequests.text().to_owned())));
                send(conn, stream, page);
            }
            Step::NeedsRead => {
                let id = self.ids.next_id();
                let kind = Kind::Page { target: target.to_owned(), stream };
                self.park(conn, id, kind, stream, 0);
                self.outbox.push(ToRaft::Read { id });
            }
        }
    }

    /// The linearizable read of a page is decided.
    pub(super) fn finish_page(
        &mut self,
        conn: &mut Conn,
        target: &str,
        stream: Option<StreamId>,
        result: Result<(), replica::Error>,
    ) {
        let read = match result {
            Ok(()) => self.read_one_key(),
            Err(replica::Error::Timeout) => Err(Error::Timeout.text().to_owned()),
            Err(error) => Err(format!("{error:?}")),
        };
        let page = self.answer_probe(target, Some(read));
        send(conn, stream, page);
        // HTTP/1.1 hands out the next pipelined request only now.
        self.serve(conn);
    }

    fn page(&mut self, method: &str, target: &str) -> Step {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if method == "OPTIONS" {
            return Step::Answer(Page { status: 200, headers: Vec::new(), body: Bytes::new() });
        }
        if let Some(probe) = Probe::parse(method, path, query) {
            let gate_open = self.published.read_gate_open();
            if probe.needs(&self.facts()).linearizable && !gate_open {
                return Step::NeedsRead;
            }
            let read = gate_open.then(|| self.read_one_key());
            return Step::Answer(self.answer_probe(target, read));
        }
        Step::Answer(match path {
            "/version" => {
                let cluster = self.published.cluster();
                health::version(method, cluster.version.as_deref(), cluster.version.as_deref()).into()
            }
            "/metrics" if method == "GET" || method == "HEAD" => {
                let body = self.metrics.render().into();
                Page { status: 200, headers: vec![("Content-Type", CONTENT_TYPE)], body }
            }
            _ => text(404, "404 page not found\n"),
        })
    }

    /// `linearizable_read`: how the read went, if one was made.
    fn answer_probe(&mut self, target: &str, linearizable_read: Option<health::ReadResult>) -> Page {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let probe = Probe::parse("GET", path, query).expect("only probes ask for a read");
        let serializable_read = Some(self.read_one_key());
        let facts = Facts { serializable_read, linearizable_read, ..self.facts() };
        let answer = health::answer(&probe, &facts);
        for (endpoint, check, ok) in &answer.outcomes {
            self.metrics.server.checked(endpoint, check, *ok);
        }
        if matches!(probe, Probe::Health { .. }) {
            let server = &self.metrics.server;
            if answer.status == 200 { server.health_success.add(1) } else { server.health_failures.add(1) }
        }
        answer.into()
    }

    fn facts(&self) -> Facts {
        Facts {
            has_leader: self.published.leader() != 0,
            is_learner: self.published.is_learner(),
            log_full: self.published.log_full(),
            disk_stalled: self.published.disk_stalled(),
            ..Facts::default()
        }
    }

    /// etcd's probes read a key that need not exist.
    fn read_one_key(&mut self) -> health::ReadResult {
        let request = RangeRequest { key: "health".into(), keys_only: true, limit: 1, ..Default::default() };
        self.reader.range(&request, usize::MAX).map(|_| ()).map_err(|error| Error::from(error).text().to_owned())
    }
}

fn send(conn: &mut Conn, stream: Option<StreamId>, page: Page) {
    match (&mut conn.protocol, stream) {
        (Protocol::Web(web), None) => {
            let mut response = h1::server::Response::new(page.status).body(page.body);
            for (name, value) in CORS.into_iter().chain(page.headers) {
                response = response.header(name, value);
            }
            web.respond(&response);
        }
        (Protocol::Grpc(grpc), Some(stream)) => {
            let names: Vec<(String, &str)> =
                CORS.into_iter().chain(page.headers).map(|(n, v)| (n.to_ascii_lowercase(), v)).collect();
            let headers: Vec<(&str, &str)> = names.iter().map(|(n, v)| (n.as_str(), *v)).collect();
            grpc.respond_http(stream, page.status, &headers, page.body);
        }
        _ => unreachable!("a page answers on the protocol it was asked on"),
    }
}
