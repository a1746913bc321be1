//! `report.html`: one file, no script, nothing from a network. Everything that comes from outside goes through [`escape`].

use super::chart::{self, Line};
use super::compare::{Evaluation, Example, PairedDifference, SystemReport};
use super::markup::{escape, grouped};
use super::metrics::{CUTOFFS, Estimate, Metric, Metrics};
use super::report::{CurvePoint, ReportData, SelectionFacts, Stage};
use crate::dataset::Role;
use crate::error::Result;
use std::fmt::Write as _;

/// Lists side by side in an example, at most.
const LISTS: usize = 6;
/// Last turns of a conversation that are shown.
const TURNS: usize = 6;
/// Index in [`CUTOFFS`] of the cutoff that decides which system is best.
const LAST: usize = CUTOFFS.len() - 1;

/// The whole page.
///
/// # Errors
/// [`crate::ErrorKind::Bug`] when a chart cannot be drawn.
pub fn page(data: &ReportData) -> Result<String> {
    let mut out = String::with_capacity(1 << 16);
    let title = if data.title.is_empty() { "causerie report" } else { &data.title };
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n",
        escape(title),
        include_str!("report.css")
    );
    head(&mut out, title, data);
    out.push_str("<main>\n");
    stages(&mut out, &data.stages);
    selections(&mut out, &data.selections);
    for evaluation in &data.evaluations {
        results(&mut out, evaluation);
    }
    curves(&mut out, &data.curves)?;
    for evaluation in data.evaluations.iter().filter(|e| !e.examples.is_empty()) {
        examples(&mut out, evaluation);
    }
    losses(&mut out, data)?;
    appendix(&mut out, data);
    out.push_str("</main>\n");
    let _ = write!(
        out,
        "<footer>Made by {}. This page holds everything it shows and loads nothing; the same numbers are in \
         <code>report.json</code>.</footer>\n</body>\n</html>\n",
        escape(&crate::artifact::made_by())
    );
    Ok(out)
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() || s <= 0.0 => "—".to_string(),
        s if s < 0.095 => format!("{:.0} ms", s * 1000.0),
        s if s < 99.5 => format!("{s:.1} s"),
        s if s < 5940.0 => format!("{:.0} min", (s / 60.0)),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn bytes(bytes: u64) -> String {
    let mib = bytes as f64 / 1_048_576.0;
    if mib < 1000.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

/// `23.9 ± 2.9`, in percent.
fn plus_minus(e: Estimate) -> String {
    format!("{} <span class=\"se\">± {}</span>", percent(e.mean), percent(e.se))
}

/// The row of the best system: by Recall@20 with mentioned items removed, then NDCG@20, then the order given.
fn best(evaluation: &Evaluation) -> Option<&SystemReport> {
    let key = |s: &SystemReport| [Metric::Recall, Metric::Ndcg].map(|m| s.seen_removed.get(m, LAST).mean);
    evaluation.systems.iter().reduce(|best, s| {
        let ([a, b], [c, d]) = (key(s), key(best));
        if a.total_cmp(&c).then(b.total_cmp(&d)).is_gt() { s } else { best }
    })
}

/// Systems from best to worst by Recall@20.
fn by_recall(evaluation: &Evaluation) -> Vec<&SystemReport> {
    let mut systems: Vec<&SystemReport> = evaluation.systems.iter().collect();
    systems.sort_by(|a, b| {
        let key = |s: &SystemReport, m| s.seen_removed.get(m, LAST).mean;
        key(b, Metric::Recall)
            .total_cmp(&key(a, Metric::Recall))
            .then(key(b, Metric::Ndcg).total_cmp(&key(a, Metric::Ndcg)))
    });
    systems
}

/// The difference of `a` minus `b`, whichever way round it is stored.
fn difference(e: &Evaluation, a: &str, b: &str, metric: Metric, cutoff: usize) -> Option<PairedDifference> {
    let of = |d: &&PairedDifference| d.metric == metric && d.cutoff == cutoff;
    let mut stored = e.differences.iter().filter(of);
    let found = stored.find(|d| d.a == a && d.b == b || d.a == b && d.b == a)?.clone();
    if found.a == a {
        return Some(found);
    }
    let better = found.words.contains("better");
    let words = if better { found.words.replace("better", "worse") } else { found.words.replace("worse", "better") };
    let (difference, low, high) = (-found.difference, -found.high, -found.low);
    Some(PairedDifference { a: found.b, b: found.a, difference, low, high, words, ..found })
}

fn head(out: &mut String, title: &str, data: &ReportData) {
    let _ = write!(
        out,
        "<header class=\"top\"><div class=\"inner\"><p class=\"eyebrow\">causerie · from reviews to a recommender</p><h1>{}</h1>",
        escape(title)
    );
    let mut sentences = Vec::new();
    if let Some(d) = &data.dataset {
        sentences.push(format!(
            "Read <b>{}</b> reviews of <b>{}</b> items{} from {}.",
            grouped(d.reviews),
            grouped(d.items),
            if d.users > 0 { format!(" by {} users", grouped(d.users)) } else { String::new() },
            escape(&d.name)
        ));
    }
    for e in &data.evaluations {
        let Some(top) = best(e) else { continue };
        let r = top.seen_removed.get(Metric::Recall, LAST);
        let mut text = format!(
            "On {}, <b>{}</b> is best: it has the wanted title among its first 20 in <b>{} %</b> <span class=\"soft\">(± {})</span> of {} cases.",
            escape(&e.name),
            escape(&top.label),
            percent(r.mean),
            percent(r.se),
            grouped(e.n)
        );
        let second = by_recall(e).into_iter().find(|s| s.label != top.label);
        let gap = |s: &SystemReport| difference(e, &top.label, &s.label, Metric::Recall, CUTOFFS[LAST]);
        if let Some((second, gap)) = second.and_then(|s| Some((s, gap(s)?))) {
            let words = escape(&lead(&gap.words));
            let _ = write!(
                text,
                " Its lead of {} points over {} is {words}.",
                percent(gap.difference),
                escape(&second.label)
            );
        }
        sentences.push(text);
    }
    for sentence in sentences {
        let _ = write!(out, "<p class=\"lead\">{sentence}</p>");
    }
    numbers(out, data);
    if !data.warnings.is_empty() {
        out.push_str("<div class=\"warnings\" role=\"note\"><b>Worth knowing</b><ul>");
        for warning in &data.warnings {
            let _ = write!(out, "<li>{}</li>", escape(warning));
        }
        out.push_str("</ul></div>");
    }
    out.push_str("</div></header>\n");
}

/// `significantly better (p = 0.010)` → `significant (p = 0.010)`.
fn lead(words: &str) -> String {
    words
        .replace("significantly better", "significant")
        .replace("significantly worse", "significant")
        .replace("p = ", "p = ")
}

fn numbers(out: &mut String, data: &ReportData) {
    let mut cards: Vec<(String, String, bool)> = Vec::new();
    for e in &data.evaluations {
        if let Some(top) = best(e) {
            let recall = top.seen_removed.get(Metric::Recall, LAST).mean;
            cards.push((format!("{} %", percent(recall)), format!("best Recall@20, {}", e.name), true));
        }
    }
    if let Some(d) = &data.dataset {
        cards.push((grouped(d.reviews), "reviews".into(), false));
        cards.push((grouped(d.items), "items".into(), false));
    }
    let seconds: f64 = data.stages.iter().map(|s| s.seconds).filter(|s| s.is_finite()).sum();
    if seconds > 0.0 {
        cards.push((duration(seconds), "wall time, all stages".into(), false));
    }
    if let Some(peak) = data.stages.iter().map(|s| s.peak_rss_bytes).max().filter(|p| *p > 0) {
        cards.push((bytes(peak), "peak memory".into(), false));
    }
    if cards.is_empty() {
        return;
    }
    out.push_str("<ul class=\"numbers\">");
    for (number, what, best) in cards {
        let class = if best { " class=\"best\"" } else { "" };
        let _ = write!(out, "<li{class}><b>{}</b><span>{}</span></li>", escape(&number), escape(&what));
    }
    out.push_str("</ul>");
}

fn stages(out: &mut String, stages: &[Stage]) {
    if stages.is_empty() {
        return;
    }
    let slowest = stages.iter().map(|s| s.seconds).filter(|s| s.is_finite()).fold(0.0, f64::max);
    out.push_str("<h2>From reviews to a model</h2><p class=\"soft\">What came out of each stage, with its wall time and the process's peak memory.</p><ol class=\"flow\">");
    for stage in stages {
        let _ = write!(
            out,
            "<li><span class=\"name\">{}</span><span class=\"out\">{}</span>",
            escape(&stage.name),
            escape(&stage.output)
        );
        if !stage.note.is_empty() {
            let _ = write!(out, "<span class=\"note\">{}</span>", escape(&stage.note));
        }
        let _ = write!(out, "<span class=\"cost\">{}", duration(stage.seconds));
        if stage.peak_rss_bytes > 0 {
            let _ = write!(out, " · {}", bytes(stage.peak_rss_bytes));
        }
        let share = if slowest > 0.0 && stage.seconds.is_finite() {
            (100.0 * stage.seconds / slowest).clamp(0.0, 100.0)
        } else {
            0.0
        };
        let _ = write!(out, "</span><div class=\"track\"><i style=\"width:{share:.1}%\"></i></div></li>");
    }
    out.push_str("</ol>\n");
}

fn selections(out: &mut String, selections: &[SelectionFacts]) {
    if selections.is_empty() {
        return;
    }
    out.push_str(
        "<div class=\"card\"><details><summary>The selections: how good they are, and what they took</summary><p class=\"soft small\">\
         The objective is log det(I + X'X) of the seeds for fisher and the sum of H + λ JS for js. A share of the best possible is \
         proven for that selection. Memory is what the process held at most, and what was said beforehand of the selection alone, \
         without the rows.</p><div class=\"scroll\"><table><thead><tr>",
    );
    for column in [
        "Strategy",
        "Round",
        "Seeds",
        "Of rows",
        "Objective",
        "At least, % of best",
        "H, nats",
        "Time",
        "Threads",
        "Memory",
        "Said beforehand",
    ] {
        let _ = write!(out, "<th scope=\"col\">{column}</th>");
    }
    out.push_str("</tr></thead><tbody>");
    for SelectionFacts { round, report, cost } in selections {
        let cells = [
            escape(&report.strategy),
            round.to_string(),
            grouped(report.picked as u64),
            grouped(report.rows as u64),
            if report.objective == 0.0 { "—".to_string() } else { format!("{:.3}", report.objective) },
            report.share_of_best.map_or("—".to_string(), percent),
            report.entropy.map_or("—".to_string(), |h| format!("{:.2} to {:.2}", h.min, h.max)),
            duration(cost.seconds),
            if cost.threads == 0 { "—".to_string() } else { cost.threads.to_string() },
            if cost.peak_rss_bytes == 0 { "—".to_string() } else { bytes(cost.peak_rss_bytes) },
            if cost.estimated_bytes == 0 { "—".to_string() } else { bytes(cost.estimated_bytes) },
        ];
        out.push_str("<tr>");
        cells.iter().for_each(|cell| {
            let _ = write!(out, "<td>{cell}</td>");
        });
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div></details></div>\n");
}

fn results(out: &mut String, e: &Evaluation) {
    let _ = write!(
        out,
        "<h2>Results on {}</h2><p class=\"soft\">{} pairs of a context and an unseen target, from {} conversations; every system is scored on the same pairs. \
         The catalogue of {} items holds the target of {} pairs ({} %); the others are misses of every system in the first table. \
         Items that a conversation mentions are removed. Lists hold catalogue items only, so removing titles from outside the catalogue changes nothing.</p>",
        escape(&e.name),
        grouped(e.n),
        grouped(e.contexts),
        grouped(e.items),
        grouped(e.n_in_catalogue),
        percent(e.n_in_catalogue as f64 / (e.n.max(1) as f64))
    );
    for warning in &e.warnings {
        let _ = write!(out, "<p class=\"soft small\">Note: {}.</p>", escape(warning));
    }
    bars(out, e);
    out.push_str("<div class=\"card\"><h3>Recall and NDCG in percent, ± standard error</h3>");
    table(out, e, &|s| &s.seen_removed);
    out.push_str("<details><summary>Only pairs whose target is in the catalogue</summary>");
    let _ = write!(
        out,
        "<p class=\"soft small\">{} of {} pairs: what the systems do where they can succeed at all.</p>",
        grouped(e.n_in_catalogue),
        grouped(e.n)
    );
    table(out, e, &|s| &s.seen_removed_in_catalogue);
    out.push_str("</details><details><summary>Mentioned items not removed (raw)</summary>");
    table(out, e, &|s| &s.raw);
    out.push_str("</details><details><summary>Mentioned items not removed, only targets in the catalogue</summary>");
    table(out, e, &|s| &s.raw_in_catalogue);
    out.push_str("</details></div>\n");
    significance(out, e);
}

fn bars(out: &mut String, e: &Evaluation) {
    let systems = by_recall(e);
    let top =
        systems.iter().map(|s| s.seen_removed.get(Metric::Recall, LAST)).map(|r| r.mean + r.se).fold(0.0, f64::max);
    if top <= 0.0 {
        return;
    }
    out.push_str("<div class=\"card\"><h3>Recall@20, with one standard error</h3><div class=\"bars\">");
    let best = best(e).map(|s| s.label.as_str());
    for s in systems {
        let r = s.seen_removed.get(Metric::Recall, LAST);
        let at = |v: f64| (100.0 * v / top).clamp(0.0, 100.0);
        let (low, high) = (at(r.mean - r.se), at(r.mean + r.se));
        let class = if Some(s.label.as_str()) == best { "bar best" } else { "bar" };
        let _ = write!(
            out,
            "<div class=\"{class}\"><span class=\"who\">{}</span><span class=\"lane\"><span class=\"fill\" style=\"width:{:.2}%\"></span>\
             <span class=\"whisker\" style=\"left:{low:.2}%;width:{:.2}%\"></span></span><span class=\"value\">{} %</span></div>",
            escape(&s.label),
            at(r.mean),
            high - low,
            plus_minus(r)
        );
    }
    out.push_str("</div></div>\n");
}

fn table(out: &mut String, e: &Evaluation, of: &dyn Fn(&SystemReport) -> &Metrics) {
    let columns: Vec<(Metric, usize)> =
        (0..CUTOFFS.len()).map(|k| (Metric::Recall, k)).chain((1..CUTOFFS.len()).map(|k| (Metric::Ndcg, k))).collect();
    out.push_str("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">System</th>");
    for (metric, k) in &columns {
        let _ = write!(out, "<th scope=\"col\">{}@{}</th>", metric.title(), CUTOFFS[*k]);
    }
    out.push_str("</tr></thead><tbody>");
    let top: Vec<f64> =
        columns.iter().map(|(m, k)| e.systems.iter().map(|s| of(s).get(*m, *k).mean).fold(0.0, f64::max)).collect();
    let best = best(e).map(|s| s.label.as_str());
    for s in &e.systems {
        let class = if Some(s.label.as_str()) == best { " class=\"best\"" } else { "" };
        let _ = write!(out, "<tr{class}><td>{}</td>", escape(&s.label));
        for ((metric, k), top) in columns.iter().zip(&top) {
            let value = of(s).get(*metric, *k);
            let class = if value.mean > 0.0 && value.mean >= *top { " class=\"top\"" } else { "" };
            let _ = write!(out, "<td{class}>{}</td>", plus_minus(value));
        }
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table></div>");
}

/// The best system against each other one, in words, beside the coverage of the catalogue.
fn significance(out: &mut String, e: &Evaluation) {
    let Some(top) = best(e) else { return };
    if e.systems.len() > 1 && !e.differences.is_empty() {
        let _ = write!(
            out,
            "<div class=\"card\"><h3>Is {} really better?</h3><p class=\"soft small\">Differences in percentage points on the same pairs, with 95 % intervals of a paired \
             bootstrap. Significant means p &lt; 0.05 for that comparison alone; the more systems are compared, the more such p values come up by luck.</p>\
             <div class=\"scroll\"><table><thead><tr><th scope=\"col\">{} against</th><th scope=\"col\">Recall@20</th><th scope=\"col\" class=\"words\"></th><th scope=\"col\">NDCG@20</th><th scope=\"col\" class=\"words\"></th></tr></thead><tbody>",
            escape(&top.label),
            escape(&top.label)
        );
        for other in by_recall(e).into_iter().filter(|s| s.label != top.label) {
            let _ = write!(out, "<tr><td>{}</td>", escape(&other.label));
            for metric in [Metric::Recall, Metric::Ndcg] {
                match difference(e, &top.label, &other.label, metric, CUTOFFS[LAST]) {
                    None => out.push_str("<td>—</td><td class=\"words\"></td>"),
                    Some(d) => {
                        let class = if d.words.starts_with("not") { "tag no" } else { "tag yes" };
                        let _ = write!(
                            out,
                            "<td>{:+.1} <span class=\"se\">[{:+.1}, {:+.1}]</span></td><td class=\"words\"><span class=\"{class}\">{}</span></td>",
                            100.0 * d.difference,
                            100.0 * d.low,
                            100.0 * d.high,
                            escape(&d.words)
                        );
                    }
                }
            }
            out.push_str("</tr>");
        }
        out.push_str("</tbody></table></div></div>\n");
    }
    let _ = write!(
        out,
        "<div class=\"card\"><h3>How much of the catalogue is ever recommended</h3><p class=\"soft small\">Distinct items among all first-20 lists, of {} in the catalogue. \
         Gini: 0 when all items come up equally often, near 1 when it is always the same few.</p>\
         <div class=\"scroll\"><table><thead><tr><th scope=\"col\">System</th><th scope=\"col\">Items</th><th scope=\"col\">Share</th><th scope=\"col\">Gini</th></tr></thead><tbody>",
        grouped(e.items)
    );
    for s in &e.systems {
        let c = s.coverage;
        let _ = write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{} %</td><td>{:.3}</td></tr>",
            escape(&s.label),
            grouped(c.items),
            percent(c.share),
            c.gini
        );
    }
    out.push_str("</tbody></table></div></div>\n");
}

fn curves(out: &mut String, points: &[CurvePoint]) -> Result<()> {
    let mut groups: Vec<(&str, &str)> = Vec::new();
    for p in points {
        if !groups.contains(&(p.set.as_str(), p.system.as_str())) {
            groups.push((&p.set, &p.system));
        }
    }
    if groups.is_empty() {
        return Ok(());
    }
    out.push_str(
        "<h2>More seeds, better answers?</h2><p class=\"soft\">Each metric against the number of seeds selected so far, per selection strategy; \
         items that a conversation mentions are removed.</p><div class=\"charts\">",
    );
    for (set, system) in groups {
        for (metric, k) in [(Metric::Recall, LAST), (Metric::Ndcg, LAST)] {
            let mut lines: Vec<Line> = Vec::new();
            for p in points.iter().filter(|p| p.set == set && p.system == system) {
                let at = lines.iter().position(|l| l.label == p.strategy).unwrap_or_else(|| {
                    lines.push(Line { label: p.strategy.clone(), points: Vec::new() });
                    lines.len() - 1
                });
                lines[at].points.push((p.budget as f64, p.metrics.get(metric, k).mean));
            }
            for line in &mut lines {
                line.points.sort_by(|a, b| a.0.total_cmp(&b.0));
            }
            let title = format!("{}@{} · {system} · {set}", metric.title(), CUTOFFS[k]);
            out.push_str(&chart::lines(&title, "seeds selected", &lines, true)?);
        }
    }
    out.push_str("</div>\n");
    Ok(())
}

fn examples(out: &mut String, e: &Evaluation) {
    let labels: Vec<&str> = by_recall(e).into_iter().take(LISTS).map(|s| s.label.as_str()).collect();
    let _ = write!(
        out,
        "<h2>Side by side on {}</h2><p class=\"soft\">Conversations with the first items of each system{}. A check marks a wanted title.</p>",
        escape(&e.name),
        if e.systems.len() > LISTS { format!(" (the {LISTS} best of {})", e.systems.len()) } else { String::new() }
    );
    for example in &e.examples {
        show_example(out, example, &labels);
    }
}

fn show_example(out: &mut String, example: &Example, labels: &[&str]) {
    let _ = write!(
        out,
        "<div class=\"card\"><h3>Wanted: {}</h3><div class=\"talk\">",
        escape(&example.targets.join(" · "))
    );
    let hidden = example.turns.len().saturating_sub(TURNS);
    if hidden > 0 {
        let _ = write!(out, "<span class=\"soft small\">… {hidden} earlier turns of {}</span>", escape(&example.id));
    }
    for turn in example.turns.iter().skip(hidden).filter(|t| !t.text.trim().is_empty()) {
        let class = match turn.role {
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let _ = write!(out, "<div class=\"turn {class}\">{}</div>", escape(turn.text.trim()));
    }
    out.push_str("</div><div class=\"lists\">");
    for list in labels.iter().filter_map(|label| example.lists.iter().find(|l| l.label == *label)) {
        let rank = list.rank.map_or("not in its first 20".to_string(), |rank| format!("found at rank {rank}"));
        let _ = write!(out, "<div><h4>{} <span class=\"soft\">· {rank}</span></h4><ol>", escape(&list.label));
        for (name, hit) in &list.items {
            let (class, check) = if *hit { (" class=\"hit\"", " ✓") } else { ("", "") };
            let _ = write!(out, "<li{class}>{}{check}</li>", escape(name));
        }
        out.push_str("</ol></div>");
    }
    out.push_str("</div></div>\n");
}

fn losses(out: &mut String, data: &ReportData) -> Result<()> {
    let mut lines: Vec<Line> = Vec::new();
    let mut add = |label: String, step: u64, loss: f64| match lines.iter_mut().find(|l| l.label == label) {
        Some(line) => line.points.push((step as f64, loss)),
        None => lines.push(Line { label, points: vec![(step as f64, loss)] }),
    };
    for p in &data.losses {
        add(format!("{}, training", p.label), p.step, p.loss);
        if let Some(held_out) = p.held_out {
            add(format!("{}, held out", p.label), p.step, held_out);
        }
    }
    let drawn = chart::lines("Loss in nats", "steps", &lines, false)?;
    if !drawn.is_empty() {
        let _ = write!(
            out,
            "<h2>Training</h2><p class=\"soft\">Loss on the dialogues it learns from and on held-out ones.</p><div class=\"charts\">{drawn}</div>"
        );
    }
    Ok(())
}

fn appendix(out: &mut String, data: &ReportData) {
    out.push_str("<h2>How this was made</h2><div class=\"card\">");
    if let Some(d) = &data.dataset {
        let _ = write!(
            out,
            "<dl class=\"facts\"><dt>Data</dt><dd>{}</dd><dt>Interactions</dt><dd>{}</dd><dt>Reviews per item</dt><dd>{:.1}</dd>\
             <dt>Items with 3 reviews or more</dt><dd>{} %</dd></dl>",
            escape(&d.name),
            grouped(d.interactions),
            d.reviews_per_item,
            percent(d.share_with_3_reviews)
        );
    }
    if !data.versions.is_empty() {
        out.push_str("<h3>Versions</h3><dl class=\"facts\">");
        for (name, version) in &data.versions {
            let _ = write!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(version));
        }
        out.push_str("</dl>");
    }
    out.push_str(
        "<h3>Definitions</h3><p class=\"soft small\">A pair has one wanted title, at rank r of a list. Recall@k is 1 when r ≤ k; NDCG@k is 1 / log₂(1 + r) when r ≤ k; else both are 0. \
         The standard error is s / √n over pairs, s with n − 1.</p>",
    );
    if !data.settings.is_empty() {
        let _ = write!(out, "<details><summary>All settings</summary><pre>{}</pre></details>", escape(&data.settings));
    }
    out.push_str("</div>\n");
}

#[cfg(test)]
mod tests {
    use super::super::report::{DatasetFacts, LossPoint};
    use super::super::report_files::{read_report, write_report};
    use super::*;
    use crate::dataset::Turn;
    use crate::evaluate::{Coverage, ExampleList, TESTED};
    use crate::math::Random;

    /// A system that finds a target with this chance, at any rank up to 20, the better the higher.
    fn system(label: &str, chance: f64, n: usize) -> (SystemReport, Vec<Option<usize>>) {
        let mut random = Random::new(7, label.as_bytes());
        let ranks: Vec<Option<usize>> =
            (0..n).map(|_| (random.uniform() < chance).then(|| (20.0 * random.uniform().powf(1.6)) as usize)).collect();
        let metrics = Metrics::of(&ranks);
        let known = Metrics::of(
            &ranks.iter().enumerate().filter(|(i, r)| r.is_some() || i % 3 > 0).map(|(_, r)| *r).collect::<Vec<_>>(),
        );
        let coverage = Coverage {
            items: (900.0 * chance) as u64 + 20,
            share: (900.0 * chance + 20.0) / 2303.0,
            gini: 0.97 - chance,
        };
        let report = SystemReport {
            label: label.into(),
            recommender: "test".into(),
            raw: metrics.clone(),
            seen_removed: metrics,
            raw_in_catalogue: known.clone(),
            seen_removed_in_catalogue: known,
            coverage,
        };
        (report, ranks)
    }

    fn evaluation(name: &str, n: usize, systems: &[(&str, f64)]) -> Evaluation {
        let (systems, ranks): (Vec<SystemReport>, Vec<_>) =
            systems.iter().map(|(label, chance)| system(label, *chance, n)).unzip();
        let mut differences = Vec::new();
        let columns: Vec<Vec<f64>> = ranks
            .iter()
            .flat_map(|r| TESTED.map(|(m, k)| r.iter().map(|r| m.of(*r, k)).collect::<Vec<f64>>()))
            .collect();
        let drawn = super::super::bootstrap::Resamples::draw(&columns, 400, 0, &crate::Run::new(2).unwrap()).unwrap();
        for a in 0..systems.len() {
            for b in a + 1..systems.len() {
                for (c, (metric, cutoff)) in TESTED.into_iter().enumerate() {
                    let d = drawn.difference(a * TESTED.len() + c, b * TESTED.len() + c);
                    differences.push(PairedDifference {
                        a: systems[a].label.clone(),
                        b: systems[b].label.clone(),
                        metric,
                        cutoff,
                        difference: d.mean,
                        low: d.low,
                        high: d.high,
                        p: d.p,
                        words: super::super::compare::in_words(d.mean, d.p),
                    });
                }
            }
        }
        let list = |label: &str, hit: usize| ExampleList {
            label: label.into(),
            items: (0..8).map(|i| (format!("The Long Way Home, Part {} ({})", i + 1, 1990 + i), i == hit)).collect(),
            rank: (hit < 20).then_some(hit as u64 + 1),
        };
        let turn = |role, text: &str| Turn { role, text: text.into() };
        let example = |id: usize| Example {
            id: format!("t{id}"),
            turns: vec![
                turn(Role::Assistant, "Hello! What kind of film are you in the mood for tonight?"),
                turn(
                    Role::User,
                    "Something slow and warm, with people who talk to each other. I loved the one with the two sisters & the lighthouse.",
                ),
                turn(Role::Assistant, "That one has a wonderful calm. Do you mind subtitles?"),
                turn(Role::User, "Not at all, <b>as long as</b> nobody explodes."),
            ],
            targets: vec![format!("The Long Way Home, Part {} ({})", id + 1, 1990 + id)],
            lists: systems
                .iter()
                .enumerate()
                .map(|(i, s)| list(&s.label, if (i + id).is_multiple_of(3) { id } else { 30 }))
                .collect(),
        };
        Evaluation {
            name: name.into(),
            contexts: (n * 9 / 10) as u64,
            n: n as u64,
            n_in_catalogue: (n * 58 / 100) as u64,
            items: 2303,
            differences,
            examples: (0..3).map(example).collect(),
            warnings: Vec::new(),
            systems,
        }
    }

    fn sample() -> ReportData {
        let systems: &[(&str, f64)] = &[
            ("popularity", 0.05),
            ("nbcrs on seed reviews", 0.06),
            ("nbcrs on synthetic dialogues, random", 0.13),
            ("nbcrs on synthetic dialogues, fisher", 0.15),
            ("ranking head, random", 0.17),
            ("ranking head, js", 0.19),
            ("ranking head, fisher", 0.205),
        ];
        let mut curves = Vec::new();
        for (system, top) in [("head", 0.2), ("nbcrs", 0.15)] {
            for (s, strategy) in ["random", "js", "fisher", "metadata_js", "metadata_fisher", "user_js", "user_fisher"]
                .iter()
                .enumerate()
            {
                for budget in [250u64, 500, 1000, 1500, 2000] {
                    let gain = top * (1.0 - (-(budget as f64) / (420.0 + 90.0 * (6 - s) as f64)).exp());
                    let name = format!("{system}{strategy}{budget}");
                    curves.push(CurvePoint {
                        set: "ReDial dev".into(),
                        strategy: strategy.to_string(),
                        system: system.into(),
                        budget,
                        metrics: super::tests::system(&name, gain, 4000).0.seen_removed,
                    });
                }
            }
        }
        let stage = |name: &str, output: &str, seconds, mib: u64, note: &str| Stage {
            name: name.into(),
            output: output.into(),
            seconds,
            peak_rss_bytes: mib << 20,
            note: note.into(),
        };
        let selection = |strategy: &str, round| {
            let x = crate::math::Matrix::from_vec(3, 2, vec![1.0, 0.0, 0.0, 1.0, 0.6, 0.8]).unwrap();
            let config =
                crate::config::SelectConfig { strategy: strategy.into(), budget: 2, clusters: 2, ..Default::default() };
            let run = crate::Run::new(1).unwrap();
            let made = crate::select::select_with(&x, None, &Default::default(), &config, &run).unwrap();
            let cost = crate::select::Cost { seconds: 0.25, threads: 2, estimated_bytes: 7 << 20, ..made.cost };
            SelectionFacts { round, report: made.report, cost }
        };
        let loss = |label: &str, start: f64| {
            let label = label.to_string();
            (1..=15).map(move |i| LossPoint {
                label: label.clone(),
                step: i * 40,
                loss: 2.0 + start * (-(i as f64) / 4.0).exp(),
                held_out: Some(2.3 + start * (-(i as f64) / 4.5).exp()),
            })
        };
        ReportData {
            title: "Movies: three strategies, 2,000 seeds each".into(),
            dataset: Some(DatasetFacts {
                name: "movies".into(),
                items: 2303,
                reviews: 89_455,
                users: 39_083,
                interactions: 811_366,
                reviews_per_item: 38.84,
                share_with_3_reviews: 0.93,
            }),
            stages: vec![
                stage("import", "89,455 reviews", 3.1, 210, ""),
                stage("embed", "89,455 × 384", 412.0, 640, "MiniLM through llama.cpp"),
                stage("select", "2,000 seeds", 0.9, 655, "fisher, js, random"),
                stage("synthesize", "4,000 dialogues", 14.2, 700, "offline teacher"),
                stage("tune", "ranking head", 31.0, 810, "3 epochs"),
                stage("evaluate", "1,951 pairs", 5.5, 820, ""),
            ],
            selections: vec![selection("fisher", 1), selection("js", 1)],
            curves,
            evaluations: vec![evaluation("ReDial dev", 1740, systems), evaluation("INSPIRED test", 211, systems)],
            losses: loss("head, fisher", 4.0).chain(loss("head, random", 4.4)).collect(),
            settings: crate::Config::default().to_toml(),
            versions: vec![("causerie".into(), "0.1.0".into()), ("llama.cpp".into(), "b1".into())],
            warnings: vec!["synthesize: 12 of 4,000 answers were dropped: fewer than a quarter of their titles are in the catalogue".into()],
        }
    }

    #[test]
    fn a_report_is_written_whole_and_reads_back_the_same() {
        // CAUSERIE_KEEP_REPORT keeps the page, for eyes.
        let folder = tempfile::tempdir().unwrap();
        let kept = std::env::var_os("CAUSERIE_KEEP_REPORT").map(std::path::PathBuf::from);
        let folder = kept.as_deref().unwrap_or(folder.path());
        let data = sample();
        write_report(folder, &data).unwrap();
        assert_eq!(read_report(folder).unwrap(), data);
        let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
        for part in [
            "ranking head, fisher",
            "Results on INSPIRED test",
            "user_fisher",
            "not significant",
            "Side by side",
            "At least, % of best",
            "<td>0.2 s</td>",
            "<td>7 MiB</td>",
            "[select]",
            "89,455",
        ] {
            assert!(page.contains(part), "{part}");
        }
        for foreign in ["http:", "https:", "<script", "<link", "url(", "@import", "src="] {
            let harmless = page.replace("http://www.w3.org/2000/svg", "");
            assert!(!harmless.contains(foreign), "{foreign}");
        }
        // Every element that is opened is closed.
        for element in
            ["div", "table", "figure", "ol", "ul", "details", "span", "main", "header", "tr", "td", "li", "p", "dl"]
        {
            let opened = page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
            assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
        }
        assert_eq!(page, page_again(&data), "the same data give the same bytes");
    }

    fn page_again(data: &ReportData) -> String {
        page(data).unwrap()
    }

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let evil = "<script>alert('x')</script>\"><img onerror=\u{0}a>&";
        let mut data = sample();
        data.title = evil.into();
        data.settings = evil.into();
        data.warnings = vec![evil.into()];
        data.versions = vec![(evil.into(), evil.into())];
        data.dataset.as_mut().unwrap().name = evil.into();
        data.stages[0] =
            Stage { name: evil.into(), output: evil.into(), note: evil.into(), seconds: f64::NAN, peak_rss_bytes: 1 };
        data.losses[0].label = evil.into();
        data.selections[0].report.strategy = evil.into();
        for p in &mut data.curves {
            p.set = evil.into();
            p.system = evil.into();
            p.strategy = evil.into();
        }
        for e in &mut data.evaluations {
            e.name = evil.into();
            e.warnings = vec![evil.into()];
            for s in &mut e.systems {
                s.label = format!("{}{evil}", s.label);
            }
            for d in &mut e.differences {
                d.a = format!("{}{evil}", d.a);
                d.b = format!("{}{evil}", d.b);
                d.words = evil.into();
            }
            for x in &mut e.examples {
                x.id = evil.into();
                x.targets = vec![evil.into()];
                x.turns = vec![Turn { role: Role::User, text: evil.into() }; 9];
                for l in &mut x.lists {
                    l.label = format!("{}{evil}", l.label);
                    l.items = vec![(evil.into(), true)];
                }
            }
        }
        let page = page(&data).unwrap();
        for markup in ["<script", "<img", "alert('", "\u{0}", "x')</"] {
            assert!(!page.contains(markup), "{markup}");
        }
        assert!(page.matches("&lt;script&gt;").count() > 50);
    }

    #[test]
    fn an_empty_report_is_a_page_all_the_same() {
        let page = page(&ReportData::default()).unwrap();
        assert!(page.contains("causerie report") && !page.contains("NaN"));
    }

    #[test]
    fn a_report_of_a_later_version_is_refused_with_both_numbers() {
        let folder = tempfile::tempdir().unwrap();
        write_report(folder.path(), &ReportData::default()).unwrap();
        let path = folder.path().join("report.json");
        let text = std::fs::read_to_string(&path).unwrap().replacen("\"format\": 1", "\"format\": 9", 1);
        std::fs::write(&path, text).unwrap();
        let e = read_report(folder.path()).unwrap_err();
        assert!(e.message().contains("format 9") && e.message().contains("format 1"), "{e}");
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([grouped(0), grouped(999), grouped(1000), grouped(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [duration(0.0), duration(0.02), duration(3.12), duration(412.0), duration(7200.0)],
            ["—", "20 ms", "3.1 s", "7 min", "2.0 h"]
        );
        assert_eq!([bytes(5 << 20), bytes(3 << 30)], ["5 MiB", "3.0 GiB"]);
    }
}
