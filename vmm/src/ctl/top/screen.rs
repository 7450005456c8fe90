//! The picture that `top` draws.

use std::collections::BTreeMap;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Table};
use serde_json::Value;

use super::super::show::{STRETCHES, duration};
use super::rates::{Look, Rates};

pub fn draw(frame: &mut Frame<'_>, look: &Look, rates: &Rates) {
    let area = frame.area();
    let latencies = latency_rows(look);
    let rows = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    // A table is its rows, a head and a frame, or nothing.
    let table =
        |count| Constraint::Length(if count > 0 { rows(count).saturating_add(3) } else { 0 });
    let heat = heat_lines(rates, usize::from(area.width.saturating_sub(2)).max(1));
    let heat_rows = if heat.is_empty() { 0 } else { rows(heat.len()).saturating_add(2) };
    let [title, cpus, disks, queues, buckets, times] = Layout::vertical([
        Constraint::Length(1),
        table(rates.exits.len()),
        table(rates.disks.len()),
        table(rates.queues.len()),
        Constraint::Length(heat_rows),
        // What there is room for.
        Constraint::Min(0),
    ])
    .areas(area);
    frame.render_widget(headline(look), title);
    frame.render_widget(vcpu_table(rates), cpus);
    frame.render_widget(disk_table(look, rates), disks);
    frame.render_widget(queue_table(rates), queues);
    let block = Block::bordered().title("hits by bucket of the hash table");
    frame.render_widget(Paragraph::new(heat).block(block), buckets);
    if !latencies.is_empty() {
        frame.render_widget(latency_table(latencies), times);
    }
}

fn headline(look: &Look) -> Line<'_> {
    let text = |key: &str| look.instance[key].as_str().unwrap_or("-");
    Line::from(vec![
        Span::from(" vmm top ").bold().reversed(),
        Span::from(format!(" {}  ", text("id"))),
        Span::from(text("state").to_string()).bold(),
        Span::from("  q quits"),
    ])
}

/// A rate in few characters.
fn short(rate: f64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    match units.into_iter().find(|(unit, _)| rate >= *unit) {
        Some((unit, name)) => format!("{:.1}{name}", rate / unit),
        None => format!("{rate:.0}"),
    }
}

fn framed<'a>(
    title: &'a str,
    head: Vec<String>,
    rows: Vec<Row<'a>>,
    widths: Vec<Constraint>,
) -> Table<'a> {
    Table::new(rows, widths)
        .header(Row::new(head).style(Style::new().bold()))
        .block(Block::bordered().title(title))
}

fn vcpu_table(rates: &Rates) -> Table<'_> {
    const REASONS: [&str; 5] = ["port_reads", "port_writes", "mmio_reads", "mmio_writes", "kicks"];
    let mut head = vec!["vCPU".to_string()];
    head.extend(REASONS.map(|reason| reason.replace('_', " ")));
    let row = |(vcpu, reasons): (&u32, &BTreeMap<String, f64>)| {
        let mut cells = vec![vcpu.to_string()];
        cells.extend(REASONS.map(|reason| short(reasons.get(reason).copied().unwrap_or(0.0))));
        Row::new(cells)
    };
    let rows = rates.exits.iter().map(row).collect();
    framed("exits per second", head, rows, vec![Constraint::Min(11); 6])
}

fn disk_table<'a>(look: &Look, rates: &'a Rates) -> Table<'a> {
    let head = ["disk", "reads", "read B", "writes", "written B", "flushes", "in flight"];
    let row = |(disk, (id, counters)): (&Value, &(String, BTreeMap<String, f64>))| {
        let rate = |name: &str| short(counters.get(name).copied().unwrap_or(0.0));
        let names = ["reads", "read_bytes", "writes", "write_bytes", "flushes"];
        let mut cells = vec![id.clone()];
        cells.extend(names.map(rate));
        cells.push(disk["in_flight"].to_string());
        Row::new(cells)
    };
    let rows = look.disks.iter().zip(&rates.disks).map(row).collect();
    framed("disks, per second", head.map(String::from).to_vec(), rows, vec![Constraint::Min(11); 7])
}

fn queue_table(rates: &Rates) -> Table<'_> {
    let head =
        ["queue", "rx frames", "rx bit", "tx frames", "tx bit", "interrupts", "rx no buffer"];
    let row = |(id, at, counters): &(String, u64, BTreeMap<String, f64>)| {
        let rate = |name: &str| counters.get(name).copied().unwrap_or(0.0);
        let cells = [
            format!("{id}/{at}"),
            short(rate("rx_frames")),
            short(rate("rx_bytes") * 8.0),
            short(rate("tx_frames")),
            short(rate("tx_bytes") * 8.0),
            short(rate("interrupts")),
            short(rate("rx_no_buffers")),
        ];
        Row::new(cells)
    };
    let rows = rates.queues.iter().map(row).collect();
    framed(
        "queues, per second",
        head.map(String::from).to_vec(),
        rows,
        vec![Constraint::Min(11); 7],
    )
}

/// For each card its buckets, the hotter the more they are hit, `width` in a line.
fn heat_lines(rates: &Rates, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for (id, buckets) in &rates.buckets {
        let hottest = buckets.iter().copied().fold(0.0, f64::max);
        let count = buckets.len();
        lines.push(Line::from(format!("{id}: {count} buckets, hottest {}/s", short(hottest))));
        lines.extend(buckets.chunks(width).map(|chunk| {
            Line::from(chunk.iter().map(|rate| heat(*rate, hottest)).collect::<Vec<_>>())
        }));
    }
    lines
}

fn heat(rate: f64, hottest: f64) -> Span<'static> {
    if hottest <= 0.0 || rate <= 0.0 {
        return Span::from("·").dim();
    }
    let color = match rate / hottest {
        part if part > 0.75 => Color::Red,
        part if part > 0.5 => Color::Yellow,
        part if part > 0.25 => Color::Green,
        _ => Color::Blue,
    };
    Span::styled("█", Style::new().fg(color))
}

fn latency_rows(look: &Look) -> Vec<Row<'static>> {
    let mut rows = Vec::new();
    for nic in &look.nics {
        for pair in nic["latency"]["pairs"].as_array().into_iter().flatten() {
            for (field, name) in STRETCHES {
                let told = &pair[field];
                if told["count"].as_u64().unwrap_or(0) == 0 {
                    continue;
                }
                let queue = format!("{}/{}", nic["id"].as_str().unwrap_or("-"), pair["index"]);
                let time = |key: &str| duration(told[key].as_u64().unwrap_or(0));
                let mut cells = vec![queue, name.to_string()];
                cells.extend(["p50", "p90", "p99", "p999"].map(time));
                rows.push(Row::new(cells));
            }
        }
    }
    rows
}

fn latency_table(rows: Vec<Row<'_>>) -> Table<'_> {
    let head = ["queue", "stretch", "p50", "p90", "p99", "p99.9"].map(String::from).to_vec();
    let mut widths = vec![Constraint::Min(11); 6];
    widths[1] = Constraint::Min(24);
    framed("latencies", head, rows, widths)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    fn look(after: u64) -> Look {
        let metrics =
            format!("vmm_vcpu_exits_total{{vcpu=\"0\",reason=\"kicks\"}} {}\n", after * 7);
        let percentiles = json!({ "count": 1, "p50": 900, "p90": 20_000, "p99": 5, "p999": 6 });
        let nic: Value = json!({
            "id": "eth0",
            "pairs": [{ "counters": { "rx_frames": after * 2500, "tx_bytes": after * 1_000_000 } }],
            "rss": { "table": [{ "queue": 0, "hits": after * 5 }] },
            "latency": { "pairs": [{ "index": 0, "doorbell_to_tap": percentiles }] },
        });
        let instance = json!({ "id": "vm-1", "state": "Running" });
        let counters = json!({ "reads": after * 3000, "write_bytes": after * 4_000_000 });
        let disk = json!({ "id": "rootfs", "in_flight": 77, "counters": counters });
        let at = Instant::now() + Duration::from_secs(after);
        let mut look = Look::new(at, instance, &metrics);
        (look.disks, look.nics) = (vec![disk], vec![nic]);
        look
    }

    #[test]
    fn a_screen_shows_state_exits_disks_queues_hits_and_latencies() {
        let (before, mut after) = (look(0), look(1));
        after.instance["state"] = "Paused".into();
        let rates = Rates::between(&before, &after);
        let mut terminal = Terminal::new(TestBackend::new(100, 34)).unwrap();
        terminal.draw(|frame| draw(frame, &after, &rates)).unwrap();
        let shown = terminal.backend().to_string();
        for part in [
            "vm-1",
            "Paused",
            "rootfs",
            "3.0k",
            "4.0M",
            "77",
            "eth0/0",
            "2.5k",
            "8.0M",
            "1 buckets",
            "doorbell to tap",
            "20 us",
        ] {
            assert!(shown.contains(part), "{part} is not in\n{shown}");
        }
        // A small one shows what matters most.
        let mut terminal = Terminal::new(TestBackend::new(80, 17)).unwrap();
        terminal.draw(|frame| draw(frame, &after, &rates)).unwrap();
        let shown = terminal.backend().to_string();
        assert!(shown.contains("eth0/0") && shown.contains("1 buckets"), "{shown}");
        // Any size will do.
        for size in [(1, 1), (20, 5), (300, 100)] {
            let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
            terminal.draw(|frame| draw(frame, &after, &rates)).unwrap();
        }
    }
}
