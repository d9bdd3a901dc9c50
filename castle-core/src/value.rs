//! What each value of a document may be, and the findings about those that are not.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use serde_saphyr::Spanned;

pub(crate) mod locator;

use crate::yaml::{nearest, place};
use crate::{ByteSize, Error, MachineId, Name, Problem, Span};

/// A phase that takes longer has failed, whatever the hardware.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);

/// More than any machine has, and little enough that sums of sizes cannot overflow.
const SIZE_MAX: ByteSize = ByteSize::gib_of(1 << 20);

/// A value and where it was declared.
#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    pub value: T,
    pub at: Option<Span>,
}

impl<T> Placed<T> {
    pub fn of<U>(text: &Spanned<U>, value: T) -> Self {
        Self { value, at: place(text.referenced) }
    }
}

/// How many findings are told one by one. Whoever has more mends these first.
const FINDINGS_MAX: usize = 500;
/// How many subjects of one finding are named. A default may be wrong for hundreds.
const SUBJECTS_MAX: usize = 12;

/// Everything that was found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    told: Vec<Told>,
    further_errors: usize,
}

/// A finding, and what else it is about.
#[derive(Debug)]
struct Told {
    problem: Problem,
    others: Vec<String>,
}

impl Told {
    fn into_problem(self) -> Problem {
        let Self { mut problem, others } = self;
        for other in others.iter().take(SUBJECTS_MAX - 1) {
            problem.subject.push_str(", ");
            problem.subject.push_str(other);
        }
        if let Some(more @ 1..) = others.len().checked_sub(SUBJECTS_MAX - 1) {
            problem.subject.push_str(&format!(" and {more} more"));
        }
        problem
    }
}

impl Findings {
    /// Adds a finding. The same finding at the same place (a default that is
    /// wrong for several machines) is one finding with several subjects.
    pub fn push(&mut self, problem: Problem) {
        let is_full = self.told.len() >= FINDINGS_MAX;
        let twin = self.told.iter_mut().find(|told| {
            let other = &told.problem;
            other.span.is_some()
                && (other.span, other.code, &other.message) == (problem.span, problem.code, &problem.message)
        });
        match twin {
            Some(twin) => twin.others.push(problem.subject),
            None if !is_full => self.told.push(Told { problem, others: Vec::new() }),
            None => self.further_errors += usize::from(problem.is_error()),
        }
    }

    /// Adds what an error says.
    pub fn refuse(&mut self, code: &'static str, subject: &str, error: &Error, at: Option<Span>) {
        let problem = Problem::error(code, subject, error.chain()).at(at);
        self.push(match error.advice() {
            Some(advice) => problem.hint(advice),
            None => problem,
        });
    }

    /// Errors and warnings, each in the order of the document.
    pub fn into_sorted(mut self) -> (Vec<Problem>, Vec<Problem>) {
        self.told.sort_by_key(|told| told.problem.span);
        let (mut errors, warnings): (Vec<Problem>, Vec<Problem>) =
            self.told.into_iter().map(Told::into_problem).partition(Problem::is_error);
        if self.further_errors > 0 {
            let message = format!("has {} more of them", self.further_errors);
            errors.push(Problem::error("further-findings", "the document", message).hint("mend those above first"));
        }
        (errors, warnings)
    }
}

/// A text as it may be printed: short and without control characters. A text
/// that had to be changed is valid nowhere, so it is safe to judge the result.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String =
        text.chars().take(100).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if text.chars().nth(100).is_some() {
        shown.push('…');
    }
    shown
}

/// Reads a value by its own rules.
pub(crate) fn parsed<T: FromStr<Err = Error>>(
    findings: &mut Findings,
    code: &'static str,
    subject: &str,
    text: &str,
    at: Option<Span>,
) -> Option<T> {
    shown(text).parse().map_err(|error| findings.refuse(code, subject, &error, at)).ok()
}

/// Reads a value that `accept` understands; else `wanted` says what is.
fn matching<T>(
    findings: &mut Findings,
    (code, subject, wanted): (&'static str, &str, &str),
    text: &Spanned<String>,
    accept: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    let text_shown = shown(&text.value);
    let value = accept(&text_shown);
    if value.is_none() {
        let message = format!("`{text_shown}` is not {wanted}");
        findings.push(Problem::error(code, subject, message).at(place(text.referenced)));
    }
    value
}

pub(crate) fn name(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<Name> {
    parsed(findings, "invalid-name", subject, &text.value, place(text.referenced))
}

pub(crate) fn size(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<Placed<ByteSize>> {
    let at = place(text.referenced);
    let size: ByteSize = parsed(findings, "invalid-size", subject, &text.value, at)?;
    if size > SIZE_MAX {
        findings.push(Problem::error("invalid-size", subject, format!("{size} are more than {SIZE_MAX}")).at(at));
        return None;
    }
    Some(Placed { value: size, at })
}

/// One of a few known words, and what it stands for.
pub(crate) fn word<T: Copy>(
    findings: &mut Findings,
    (code, subject, what): (&'static str, &str, &str),
    text: &Spanned<String>,
    known: &[(&str, T)],
) -> Option<T> {
    let found = known.iter().find(|(word, _)| *word == text.value).map(|(_, meaning)| *meaning);
    if found.is_none() {
        let words: Vec<&str> = known.iter().map(|(word, _)| *word).collect();
        let message = format!("{what} `{}` is not known", shown(&text.value));
        let hint = match nearest(&text.value, &words) {
            Some(word) => format!("did you mean `{word}`?"),
            None => format!("use `{}`", words.join("` or `")),
        };
        findings.push(Problem::error(code, subject, message).hint(hint).at(place(text.referenced)));
    }
    found
}

/// The one of several keys that is declared.
pub(crate) fn one_of<T, const N: usize>(
    findings: &mut Findings,
    code: &'static str,
    subject: &str,
    choices: [(&'static str, Option<T>); N],
    at: Option<Span>,
) -> Option<(&'static str, T)> {
    let names = choices.each_ref().map(|(name, _)| format!("`{name}`")).join(", ");
    let mut declared = choices.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let complaint = match (declared.next(), declared.next()) {
        (Some(one), None) => return Some(one),
        (None, _) => format!("has none of {names}"),
        _ => format!("has more than one of {names}"),
    };
    findings.push(Problem::error(code, subject, complaint).hint("declare one of them").at(at));
    None
}

/// Major, minor and patch of `v1.13.9` or `v1.14.0-rc.1`.
pub(crate) fn release_numbers(text: &str) -> Option<[u64; 3]> {
    let (numbers, suffix) = match text.strip_prefix('v')?.split_once('-') {
        Some((numbers, suffix)) => (numbers, Some(suffix)),
        None => (text.strip_prefix('v')?, None),
    };
    let good_part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    if suffix.is_some_and(|suffix| !suffix.split('.').all(good_part)) {
        return None;
    }
    version_numbers(numbers)
}

fn version_numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let plain = |part: &&str| {
        part.bytes().all(|b| b.is_ascii_digit()) && part.len() <= 9 && (*part == "0" || !part.starts_with('0'))
    };
    let numbers: Vec<u64> =
        text.split('.').map(|part| Some(part).filter(plain)?.parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

pub(crate) fn release(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<String> {
    matching(findings, ("invalid-version", subject, "a release such as `v1.13.9`"), text, |text| {
        release_numbers(text).map(|_| text.to_owned())
    })
}

/// The contract of the machine configuration: no newer than the Talos that reads it.
pub(crate) fn contract(findings: &mut Findings, text: &Spanned<String>, talos: Option<&str>) -> Option<String> {
    let subject = "cluster.contract";
    let contract: [u64; 2] =
        matching(findings, ("invalid-version", subject, "a contract such as `1.13`"), text, version_numbers)?;
    if let Some(release) = talos.and_then(release_numbers)
        && release[..2] < contract[..]
    {
        let message = format!("contract {} is newer than Talos {}", text.value, talos.unwrap_or_default());
        let hint = format!("use \"{}.{}\" or a newer Talos", release[0], release[1]);
        findings.push(Problem::error("contract-too-new", subject, message).hint(hint).at(place(text.referenced)));
        return None;
    }
    Some(text.value.clone())
}

pub(crate) fn extensions(findings: &mut Findings, texts: &[Spanned<String>]) -> Option<Vec<String>> {
    let subject = "image.extensions";
    let good_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.'))
    };
    let wanted = "an extension such as `siderolabs/iscsi-tools`";
    let mut seen: BTreeMap<&str, Option<Span>> = BTreeMap::new();
    let mut names = Some(Vec::with_capacity(texts.len()));
    for text in texts {
        let read = matching(findings, ("invalid-extension", subject, wanted), text, |text| {
            let (owner, name) = text.split_once('/')?;
            (good_part(owner) && good_part(name)).then(|| text.to_owned())
        });
        let at = place(text.referenced);
        if let Some(first) = seen.insert(&text.value, at) {
            let message = format!("`{}` appears twice{}", shown(&text.value), on_line(first));
            findings.push(Problem::error("duplicate-extension", subject, message).hint("remove one").at(at));
        }
        names = names.zip(read).map(|(mut names, read)| {
            names.push(read);
            names
        });
    }
    names
}

// What the hypervisor's own grammar allows, narrowed: these words end up in
// lists of `key=value`, where a comma would add a setting.
pub(crate) fn plain(text: &str, more: &str, max: usize) -> bool {
    text.len() <= max
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

pub(crate) fn storage(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<Placed<String>> {
    matching(findings, ("invalid-storage", subject, "a storage such as `local-lvm`"), text, |text| {
        (text.len() >= 2 && plain(text, "-_.", 100)).then(|| text.to_owned())
    })
    .map(|value| Placed::of(text, value))
}

pub(crate) fn pool(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<Placed<String>> {
    matching(findings, ("invalid-pool", subject, "a pool such as `blue` or `castle/blue`"), text, |text| {
        let levels = text.split('/').count();
        (levels <= 3 && text.split('/').all(|level| plain(level, "-_.", 64))).then(|| text.to_owned())
    })
    .map(|value| Placed::of(text, value))
}

pub(crate) fn bridge(findings: &mut Findings, text: &Spanned<String>) -> Option<String> {
    // Linux allows 15 bytes for the name of an interface.
    matching(findings, ("invalid-bridge", "network.bridge", "a bridge such as `vmbr0`"), text, |text| {
        plain(text, "-_.", 15).then(|| text.to_owned())
    })
}

fn number<T: TryFrom<i64>>(
    findings: &mut Findings,
    (code, subject, wanted): (&'static str, &str, &str),
    declared: &Spanned<i64>,
    good: impl FnOnce(&T) -> bool,
) -> Option<T> {
    let number = T::try_from(declared.value).ok().filter(good);
    if number.is_none() {
        let message = format!("{} is not {wanted}", declared.value);
        findings.push(Problem::error(code, subject, message).at(place(declared.referenced)));
    }
    number
}

pub(crate) fn vlan(findings: &mut Findings, tag: &Spanned<i64>) -> Option<u16> {
    number(findings, ("invalid-vlan", "network.vlan", "a VLAN tag from 1 to 4094"), tag, |tag| (1..=4094).contains(tag))
}

pub(crate) fn limit(findings: &mut Findings, subject: &str, limit: &Spanned<i64>) -> Option<usize> {
    number(findings, ("invalid-limit", subject, "a limit from 1 to 1000"), limit, |limit| (1..=1000).contains(limit))
}

pub(crate) fn cores(findings: &mut Findings, subject: &str, cores: &Spanned<i64>) -> Option<Placed<u32>> {
    number(findings, ("invalid-cores", subject, "a number of cores from 1 to 512"), cores, |n| (1..=512).contains(n))
        .map(|value| Placed::of(cores, value))
}

pub(crate) fn machine_id(findings: &mut Findings, subject: &str, id: &Spanned<i64>) -> Option<Placed<MachineId>> {
    let wanted = "a machine id from 100 to 999999999";
    let number: u32 = number(findings, ("invalid-id", subject, wanted), id, |id| MachineId::try_from(*id).is_ok())?;
    MachineId::try_from(number).ok().map(|value| Placed::of(id, value))
}

pub(crate) fn port(findings: &mut Findings, subject: &str, port: &Spanned<i64>) -> Option<u16> {
    number(findings, ("invalid-port", subject, "a port from 1 to 65535"), port, |port| *port > 0)
}

pub(crate) fn status(findings: &mut Findings, subject: &str, status: &Spanned<i64>) -> Option<u16> {
    let wanted = "an HTTP status from 200 to 599";
    number(findings, ("invalid-status", subject, wanted), status, |status| (200..=599).contains(status))
}

/// `90s`, `5m` or `1h`.
pub(crate) fn deadline(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<Duration> {
    matching(findings, ("invalid-duration", subject, "a time from `1s` to `24h` such as `90s` or `5m`"), text, |text| {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = match &text[digits.len()..] {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let seconds = plain.then(|| digits.parse::<u64>().ok())??.checked_mul(unit)?;
        Some(Duration::from_secs(seconds)).filter(|time| !time.is_zero() && *time <= DEADLINE_MAX)
    })
}

pub(crate) fn address(findings: &mut Findings, subject: &str, text: &Spanned<String>) -> Option<Placed<IpAddr>> {
    matching(
        findings,
        ("invalid-address", subject, "the address of one machine, such as `192.168.1.211`"),
        text,
        |text| {
            let address: IpAddr = text.parse().ok()?;
            let of_one_machine = !(address.is_unspecified() || address.is_multicast() || address.is_loopback());
            of_one_machine.then_some(address)
        },
    )
    .map(|value| Placed::of(text, value))
}

pub(crate) fn subnet(findings: &mut Findings, text: &Spanned<String>) -> Option<IpNet> {
    let subject = "network.subnet";
    let net: IpNet =
        matching(findings, ("invalid-address", subject, "a subnet such as `192.168.1.0/24`"), text, |t| {
            t.parse().ok()
        })?;
    if net.addr() != net.network() {
        let message = format!("`{net}` is the address of a machine with its mask, not a subnet");
        let hint = format!("use `{}`", net.trunc());
        findings.push(Problem::error("invalid-address", subject, message).hint(hint).at(place(text.referenced)));
    }
    Some(net.trunc())
}

/// The addresses `first-last`, or those of `192.168.1.240/29`, both ends included.
pub(crate) fn range(
    findings: &mut Findings,
    subject: &str,
    text: &Spanned<String>,
) -> Option<Placed<(IpAddr, IpAddr)>> {
    let wanted = "a range such as `192.168.1.240-192.168.1.247` or `192.168.1.240/29`";
    let (first, last) = matching(findings, ("invalid-range", subject, wanted), text, |text| {
        let ends = match text.split_once('-') {
            Some((first, last)) => (first.trim().parse().ok()?, last.trim().parse().ok()?),
            None => {
                let net: IpNet = text.parse().ok().filter(|net: &IpNet| net.addr() == net.network())?;
                (net.network(), net.broadcast())
            }
        };
        let (first, last): (IpAddr, IpAddr) = ends;
        (first.is_ipv4() == last.is_ipv4()).then_some(ends)
    })?;
    let at = place(text.referenced);
    if first > last {
        let message = format!("the range ends before it begins: {first} is behind {last}");
        let hint = format!("write `{last}-{first}`");
        findings.push(Problem::error("invalid-range", subject, message).hint(hint).at(at));
        return None;
    }
    Some(Placed { value: (first, last), at })
}

/// ` (line 7)`, to say where the other one is.
pub(crate) fn on_line(span: Option<Span>) -> String {
    span.map(|span| format!(" (line {})", span.line)).unwrap_or_default()
}
