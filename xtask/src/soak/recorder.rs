//! What a ring says after its process was killed or crashed, while it is written at full speed, and under every load.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use foretrace_ring::{Memory, Snapshot, Trail, reader};
use nix::sys::signal::Signal;

use super::Row;
use super::evidence::{self, Evidence, THREADS};
use super::memory;
use super::victim::{Order, Writer};
use crate::build::say;
use crate::interrupt;

const KIB: u64 = 1 << 10;

/// Makes all proofs.
///
/// # Errors
/// A writer that cannot be run; what a proof finds is in its row.
pub fn prove(rounds: u64, events: u64) -> Result<Vec<Row>> {
    let crashes = (rounds / 20).max(10);
    let mut rows = vec![killed(rounds)?];
    rows.push(crashed("SIGSEGV while a payload is copied", "payload", crashes)?);
    rows.push(crashed("SIGSEGV in a handler that interrupted a recording", "handler", crashes)?);
    rows.push(crashed("the same, two handlers deep", "nested", crashes)?);
    rows.push(crashed("the same, deeper than there are levels: discarded and counted", "too-deep", crashes)?);
    rows.push(crashed(
        "SIGSEGV on every thread at a random instant of packet switching",
        "last-words",
        crashes,
    )?);
    rows.extend(torn(events)?);
    rows.push(idle()?);
    rows.push(ramp()?);
    Ok(rows)
}

fn row(what: &str, unit: &'static str) -> Row {
    Row { what: what.to_owned(), looked: 0, unit, wrong: Vec::new(), remark: String::new() }
}

/// SIGKILL at a random instant.
fn killed(rounds: u64) -> Result<Row> {
    let mut row = row("SIGKILL at a random instant: ring against ledgers", "kills");
    let mut random = Random(1);
    let mut progress = Progress::new("killed", rounds);
    let (mut events, mut overwritten, mut extra, mut nested) = (0, 0, 0, 0);
    for round in 0..rounds {
        interrupt::check()?;
        let work = ["steps", "packets", "churn", "handlers"][random.below(4) as usize];
        let pools = if work == "packets" { [None, Some(1024 * KIB)] } else { [None, Some(256 * KIB)] };
        let order =
            Order { threads: 1 + round % 8, work, death: "wait", pool: pools[random.below(2) as usize] };
        let mut writer = Writer::start(&order)?;
        let longest = if random.below(4) == 0 { 300 } else { 8000 };
        thread::sleep(Duration::from_micros(random.below(longest)));
        writer.kill()?;
        row.looked += 1;
        match hold_against_ledger(&writer, round, &order, 0) {
            Ok((snapshot, evidence)) => {
                events += evidence.events;
                overwritten += snapshot.overwritten;
                nested += evidence.nested;
                extra += snapshot.recorded - writer.noted().iter().sum::<u64>();
            }
            Err(why) => note(&mut row, &writer, &format!("kill-{round}"), &format!("{order:?}: {why}"))?,
        }
        progress.at(round + 1, row.wrong.len());
    }
    row.remark = format!(
        "{events} events read ({nested} interrupted a recording), {overwritten} overwritten, {extra} not noted"
    );
    Ok(row)
}

/// SIGSEGV where it hurts.
fn crashed(what: &str, how: &str, rounds: u64) -> Result<Row> {
    let mut row = row(what, "crashes");
    let mut random = Random(how.len() as u64);
    let mut progress = Progress::new(how, rounds);
    let (mut handled, mut nested) = (0, 0);
    for round in 0..rounds {
        interrupt::check()?;
        let longest = if how == "last-words" { 10_000 } else { 20_000 };
        let death = format!("{how}:{}", random.below(longest));
        let work = ["steps", "packets"][random.below(2) as usize];
        let pool = [None, Some(1024 * KIB)][random.below(2) as usize];
        let order = Order { threads: 1 + round % 4, work, death: &death, pool };
        let mut writer = Writer::start(&order)?;
        writer.wait_for_death(Signal::SIGSEGV as i32)?;
        row.looked += 1;
        match hold_against_ledger(&writer, round, &order, u64::from(how == "too-deep")) {
            Ok((_, evidence)) => {
                handled += evidence.lanes[THREADS..].iter().map(|lane| lane.len() as u64).sum::<u64>();
                nested += evidence.nested;
            }
            Err(why) => note(&mut row, &writer, &format!("{how}-{round}"), &format!("{order:?}: {why}"))?,
        }
        progress.at(round + 1, row.wrong.len());
    }
    row.remark = format!("{handled} last events from handlers, {nested} of them interrupted a recording");
    Ok(row)
}

/// Reads a dead writer's ring and holds it against the ledger.
fn hold_against_ledger(
    writer: &Writer,
    round: u64,
    order: &Order<'_>,
    discarded: u64,
) -> Result<(Snapshot, Evidence), String> {
    let snapshot = if round.is_multiple_of(2) { read(&writer.held) } else { read(&writer.mapped) }?;
    let evidence = evidence::examine(&snapshot, order.numbers())?;
    let mut noted = writer.noted();
    if discarded > 0 {
        // The deepest handler's event found no level; its note says that it was tried.
        noted[3 * THREADS] = 0;
    }
    evidence::compare(&evidence, snapshot.recorded, &noted, |lane| order.keeps_last(lane))?;
    if snapshot.discarded != discarded {
        return Err(format!("{} discarded instead of {discarded}", snapshot.discarded));
    }
    if round.is_multiple_of(16) {
        let streams: Vec<(&str, &[u8])> =
            snapshot.streams.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        let trail = Trail::decode(&snapshot.metadata, &streams);
        if trail.events.len() as u64 != evidence.events || !trail.problems.is_empty() {
            return Err(format!("the decoder sees {} events: {:?}", trail.events.len(), trail.problems));
        }
    }
    Ok((snapshot, evidence))
}

/// Snapshots of writers at full speed; and the control, which leaves out what makes them safe.
fn torn(events: u64) -> Result<[Row; 2]> {
    let mut proof = row("snapshots of writers at full speed: torn or miscounted", "snapshots");
    let mut control = row("control: a reader that does not ask whether packets were reused", "copies");
    let mut progress = Progress::new("events written during snapshots", events);
    let (mut written, mut read_events, mut torn, mut packets) = (0, 0, 0, 0_u64);
    for (threads, work, pool, percent) in [
        (2, "steps", Some(256 * KIB), 45),
        (2, "steps", None, 45),
        (8, "steps", Some(256 * KIB), 10),
        (4, "packets", Some(1024 * KIB), 0),
    ] {
        let order = Order { threads, work, death: "wait", pool };
        let mut writer = Writer::start(&order)?;
        let ids = evidence::step_ids(&wait_for_declaration(&writer)?);
        let share = (events / 100 * percent).max(events / 5000);
        loop {
            interrupt::check()?;
            let noted: u64 = writer.noted().iter().sum();
            progress.at(written + noted, proof.wrong.len());
            if noted >= share {
                written += noted;
                break;
            }
            let round = proof.looked;
            proof.looked += 1;
            match live(&writer, round, &order, noted) {
                Ok(events) => read_events += events,
                Err(why) => {
                    note(&mut proof, &writer, &format!("live-{round}"), &format!("{order:?}: {why}"))?
                }
            }
            for packet in (0..4).flat_map(|_| memory::copy_naively(&writer.mapped)) {
                packets += 1;
                torn += u64::from(evidence::packet_events(&packet, &ids).is_err());
            }
            control.looked += 4;
        }
        writer.kill()?;
    }
    proof.remark = format!("{written} events written, {read_events} read and checked");
    control.remark = format!("{torn} of {packets} packets torn, as they must be");
    if torn == 0 {
        control.wrong.push(String::from("no torn packet: the proof above proves nothing"));
        control.remark.clear();
    }
    Ok([proof, control])
}

/// The metadata, once the writer's event type is in it.
fn wait_for_declaration(writer: &Writer) -> Result<String> {
    while writer.noted()[0] == 0 {
        interrupt::check()?;
        thread::yield_now();
    }
    Ok(read(&writer.mapped).map_err(anyhow::Error::msg)?.metadata)
}

/// One snapshot of a writer that goes on. `noted` events at least were there before.
fn live(writer: &Writer, round: u64, order: &Order<'_>, noted: u64) -> Result<u64, String> {
    let snapshot = if round.is_multiple_of(2) { read(&writer.held) } else { read(&writer.mapped) }?;
    let evidence = evidence::examine(&snapshot, order.numbers())?;
    let later: u64 = writer.noted().iter().sum();
    if !(noted..=later + order.threads).contains(&snapshot.recorded) || snapshot.discarded > 0 {
        return Err(format!(
            "{} recorded and {} discarded; the ledger said {noted} before and {later} after",
            snapshot.recorded, snapshot.discarded
        ));
    }
    Ok(evidence.events)
}

/// A hundred snapshots of rings that nobody writes.
fn idle() -> Result<Row> {
    let mut row = row("a hundred snapshots of an idle ring are identical", "snapshots");
    for work in ["alive", "steps", "packets", "churn", "handlers"] {
        let alive = work == "alive";
        let order = Order { threads: 4, work: if alive { "steps" } else { work }, death: "wait", pool: None };
        let mut writer = Writer::start(&order)?;
        thread::sleep(Duration::from_millis(50));
        if alive {
            writer.pause()?;
        } else {
            writer.kill()?;
        }
        let bytes = all_bytes(&writer);
        let first = read(&writer.held).map_err(anyhow::Error::msg)?;
        for _ in 0..100 {
            interrupt::check()?;
            row.looked += 1;
            let again = read(&writer.held).map_err(anyhow::Error::msg)?;
            if again != first {
                note(
                    &mut row,
                    &writer,
                    &format!("idle-{work}"),
                    &format!("{order:?}: two snapshots differ"),
                )?;
            }
        }
        if bytes != all_bytes(&writer) {
            note(
                &mut row,
                &writer,
                &format!("idle-{work}"),
                &format!("{order:?}: reading changed the ring"),
            )?;
        }
        if let Err(why) = hold_against_ledger(&writer, 0, &order, 0) {
            note(&mut row, &writer, &format!("idle-{work}"), &format!("{order:?}: {why}"))?;
        }
    }
    row.remark = String::from("of one live and four dead rings, whose bytes stay the same too");
    Ok(row)
}

fn all_bytes(writer: &Writer) -> Vec<u8> {
    let mut bytes = vec![0; writer.held.size() as usize];
    writer.held.copy(0, &mut bytes);
    bytes
}

/// From a trickle to full speed, in every size of pool.
fn ramp() -> Result<Row> {
    const RATES: [u64; 6] = [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 0];
    let mut row = row("a load ramp over pool sizes: gaps accounted for, no event twice", "snapshots");
    let pools = [256, 512, 1024, 2048, 4096, 16_384, 65_536].map(|pool| Some(pool * KIB));
    let mut progress = Progress::new("stages of the load ramp", (pools.len() * RATES.len()) as u64);
    let (mut written, mut overwritten) = (0, 0);
    for (index, pool) in pools.into_iter().enumerate() {
        let order = Order { threads: 2, work: "steps", death: "wait", pool };
        let mut writer = Writer::start(&order)?;
        writer.pause()?;
        for (stage, rate) in RATES.into_iter().enumerate() {
            let begun = Instant::now();
            writer.set_rate(rate);
            while begun.elapsed() < Duration::from_secs(1) {
                interrupt::check()?;
                thread::sleep(Duration::from_millis(20));
                let noted = writer.noted().iter().sum();
                row.looked += 1;
                let round = row.looked;
                if let Err(why) = live(&writer, round, &order, noted) {
                    note(
                        &mut row,
                        &writer,
                        &format!("ramp-{round}"),
                        &format!("{order:?} at {rate} B/s: {why}"),
                    )?;
                }
            }
            writer.pause()?;
            row.looked += 1;
            match hold_against_ledger(&writer, 0, &order, 0) {
                Ok((snapshot, _)) if rate == 0 => {
                    written += snapshot.recorded;
                    overwritten += snapshot.overwritten;
                }
                Ok(_) => {}
                Err(why) => {
                    let why = format!("{order:?} after {rate} B/s: {why}");
                    note(&mut row, &writer, &format!("ramp-{index}-{stage}"), &why)?;
                }
            }
            progress.at((index * RATES.len() + stage + 1) as u64, row.wrong.len());
        }
        writer.kill()?;
    }
    row.remark = format!("{written} events written, {overwritten} overwritten");
    Ok(row)
}

fn read(ring: &impl Memory) -> Result<Snapshot, String> {
    reader::read(ring).map_err(|error| error.to_string())
}

/// Notes what is wrong, and keeps the first few rings that show it.
fn note(row: &mut Row, writer: &Writer, name: &str, why: &str) -> Result<()> {
    let mut sentence = why.to_owned();
    if row.wrong.len() < 3 {
        sentence = format!("{sentence}; kept in {}", writer.keep_evidence(name)?.display());
    }
    eprintln!("\r{sentence}");
    row.wrong.push(sentence);
    Ok(())
}

/// A line on standard error, rewritten a few times a second.
struct Progress {
    what: String,
    total: u64,
    said: Instant,
}

impl Progress {
    fn new(what: &str, total: u64) -> Progress {
        say(&format!("{what}: {total}"));
        Progress { what: what.to_owned(), total, said: Instant::now() }
    }

    fn at(&mut self, done: u64, wrong: usize) {
        let last = done >= self.total;
        if last || self.said.elapsed() > Duration::from_millis(500) {
            self.said = Instant::now();
            let end = if last { "\n" } else { "" };
            eprint!("\r    {}: {done} of {}, {wrong} wrong{end}", self.what, self.total);
        }
    }
}

/// Instants and choices; the machine's own scheduling makes them random enough.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
