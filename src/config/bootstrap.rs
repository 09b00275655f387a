//! The checks of a first start: what `initial-cluster` and its relatives say. On a restart etcd does not look at them,
//! so neither do we. Pure.

use super::check::World;
use super::table::find;
use super::url::{self, Url};
use super::value::{Settings, quote};
use super::{Bootstrap, Members};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Reads and checks the first members. `peer_host_moved`: the advertised peer URL was replaced by the machine's address.
pub fn check(
    settings: &Settings,
    name: &str,
    advertised: &[Url],
    peer_host_moved: bool,
    world: &World<'_>,
) -> Result<Bootstrap, Vec<String>> {
    let mut mistakes = Vec::new();
    if settings.text("initial-cluster-state") == "existing" {
        mistakes
            .push("--initial-cluster-state=existing: joining a cluster is not there yet in this build, use new".into());
    }
    let members = members(settings, name, advertised, peer_host_moved).map_err(|reason| vec![reason])?;
    match members.get(name) {
        None => mistakes.push(format!("couldn't find local name {} in the initial cluster configuration", quote(name))),
        Some(listed) => mistakes.extend(mismatch(name, listed, advertised, world)),
    }
    if has_duplicate(&members) {
        mistakes.push(format!("initial cluster {} has duplicate url", show(&members)));
    }
    if members.len() > 1 {
        mistakes.push(format!(
            "--initial-cluster names {} members: clusters of several members are not there yet in this build",
            members.len()
        ));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(Bootstrap { members, token: settings.text("initial-cluster-token") })
}

/// The list as given, or, when it was left alone, this member under its name and advertised URLs.
fn members(settings: &Settings, name: &str, advertised: &[Url], moved: bool) -> Result<Members, String> {
    let given = settings.text("initial-cluster");
    let untouched = given == find("initial-cluster").expect("a row of the table").default;
    // etcd keeps localhost for a member called `default` even when it advertises another host by itself, and then
    // refuses its own configuration; following the host is what was meant.
    if untouched && (name != "default" || moved) {
        let own = if name.is_empty() { "default" } else { name };
        return Ok(Members::from([(own.to_string(), advertised.to_vec())]));
    }
    parse(&given)
}

/// Reads `name=URL,...`; a name may come several times with one URL each.
fn parse(raw: &str) -> Result<Members, String> {
    let mut members = Members::new();
    for entry in raw.split(',').filter(|entry| !entry.is_empty()) {
        let (name, url) = entry.split_once('=').unwrap_or((entry, ""));
        let url = Url::parse(url).map_err(|reason| format!("--initial-cluster: {reason}"))?;
        members.entry(name.to_string()).or_default().push(url);
    }
    for urls in members.values_mut() {
        urls.sort();
    }
    Ok(members)
}

/// What is wrong between the advertised URLs and this member's entry, if anything.
fn mismatch(name: &str, listed: &[Url], advertised: &[Url], world: &World<'_>) -> Option<String> {
    let why = difference(advertised, listed, world.resolve)?;
    let missing =
        |from: &[Url], of: &[Url]| -> Vec<Url> { from.iter().filter(|url| !of.contains(url)).cloned().collect() };
    let own = |urls: &[Url]| urls.iter().map(|url| format!("{name}={url}")).collect::<Vec<_>>().join(",");
    let unannounced = missing(listed, advertised);
    if !unannounced.is_empty() {
        return Some(format!(
            "--initial-cluster has {} but missing from --initial-advertise-peer-urls={} ({why})",
            own(&unannounced),
            url::join(advertised)
        ));
    }
    let unlisted = missing(advertised, listed);
    if !unlisted.is_empty() {
        return Some(format!(
            "--initial-advertise-peer-urls has {} but missing from --initial-cluster={}",
            url::join(&unlisted),
            own(advertised)
        ));
    }
    Some(format!("failed to resolve {} to match --initial-cluster={} ({why})", url::join(advertised), own(advertised)))
}

/// Why two sorted lists are not the same addresses; host names are resolved only when the texts differ.
fn difference(left: &[Url], right: &[Url], resolve: &dyn Fn(&str) -> Option<IpAddr>) -> Option<String> {
    if left.len() != right.len() {
        let show = |urls: &[Url]| urls.iter().map(|url| quote(url.as_str())).collect::<Vec<_>>().join(" ");
        return Some(format!("len([{}]) != len([{}])", show(left), show(right)));
    }
    if left == right {
        return None;
    }
    let mut resolved = [Vec::new(), Vec::new()];
    for (urls, out) in [left, right].into_iter().zip(&mut resolved) {
        for url in urls {
            let ip = url.socket_addr().map(|addr| addr.ip()).or_else(|| resolve(url.host()));
            let Some(ip) = ip else { return Some(format!("could not resolve host {}", url.host())) };
            out.push(url.at_host(ip, url.port()));
        }
        out.sort();
    }
    let [left, right] = resolved;
    left.iter()
        .zip(&right)
        .find(|(a, b)| a != b)
        .map(|(a, b)| format!("resolved urls: {} != {}", quote(a.as_str()), quote(b.as_str())))
}

fn has_duplicate(members: &Members) -> bool {
    let mut seen = BTreeSet::new();
    members.values().flatten().any(|url| !seen.insert(url))
}

fn show(members: &Members) -> String {
    let mut pairs: Vec<String> =
        members.iter().flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}"))).collect();
    pairs.sort();
    pairs.join(",")
}
