//! `loss.svg`: the course of a fine-tuning as one picture, a panel each for the text's loss, the ranking head's loss and
//! Recall, as far as there are any; the step whose weights were kept is marked in all of them.

use super::report::LmPoint;
use crate::error::{Error, Result};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const PAPER: RGBColor = RGBColor(255, 255, 255);
const INK: RGBColor = RGBColor(0x1d, 0x23, 0x27);
const SOFT: RGBColor = RGBColor(0x5b, 0x66, 0x70);
const GRID: RGBColor = RGBColor(0xe2, 0xdf, 0xd7);
// Okabe and Ito's colours: told apart by colour-blind eyes, too.
const TRAIN: RGBColor = RGBColor(0x00, 0x72, 0xb2);
const HELD_OUT: RGBColor = RGBColor(0xd5, 0x5e, 0x00);
const RECALL: RGBColor = RGBColor(0x00, 0x80, 0x5c);

const WIDTH: u32 = 760;
const PANEL_HEIGHT: u32 = 300;
/// Of a letter of the legend, about.
const LETTER: i32 = 7;
/// Looks that are drawn as points.
const FEW: usize = 40;

/// One line of a panel.
struct Curve {
    name: String,
    colour: RGBColor,
    /// (step, value), steps ascending.
    points: Vec<(f64, f64)>,
    /// Noisy: drawn faintly, with its running mean on top.
    noisy: bool,
}

struct Panel {
    title: &'static str,
    lines: Vec<Curve>,
    percent: bool,
}

/// The picture of `curve`; `best`: the step whose weights were kept. Empty axes before there are any points.
///
/// # Errors
/// [`crate::ErrorKind::Bug`] when it cannot be drawn.
pub(super) fn loss_chart(curve: &[LmPoint], best: Option<u64>, recall_k: usize) -> Result<String> {
    let points = |of: fn(&LmPoint) -> Option<f64>| -> Vec<(f64, f64)> {
        curve.iter().filter_map(|p| of(p).filter(|v| v.is_finite()).map(|v| (p.step as f64, v))).collect()
    };
    let line = |name: &str, colour, points, noisy| Curve { name: name.to_string(), colour, points, noisy };
    let panel = |title, train, held_out| Panel {
        title,
        lines: vec![line("training", TRAIN, train, true), line("held out", HELD_OUT, held_out, false)],
        percent: false,
    };
    let recall = line(&format!("held-out Recall@{recall_k}"), RECALL, points(|p| p.recall), false);
    let mut panels = vec![
        panel("Loss, nats per token", points(|p| p.loss), points(|p| p.held_out)),
        panel("Ranking head's loss, nats per dialogue", points(|p| p.items_loss), points(|p| p.held_out_items)),
        Panel { title: "Recall", lines: vec![recall], percent: true },
    ];
    for panel in &mut panels {
        panel.lines.retain(|l| !l.points.is_empty());
    }
    let mut shown: Vec<Panel> = panels.into_iter().filter(|p| !p.lines.is_empty()).collect();
    if shown.is_empty() {
        shown.push(Panel { title: "Loss, nats per token", lines: Vec::new(), percent: false });
    }
    let steps = curve.iter().map(|p| p.step).max().unwrap_or(0).max(1) as f64;
    let mut svg = String::new();
    draw(&mut svg, &shown, steps, best.map(|b| b as f64)).map_err(|e| Error::bug(format!("loss.svg: {e}")))?;
    Ok(svg.replacen("<svg ", "<svg role=\"img\" aria-label=\"Course of the fine-tuning\" ", 1))
}

type DrawResult = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw(svg: &mut String, panels: &[Panel], steps: f64, best: Option<f64>) -> DrawResult {
    let root = SVGBackend::with_string(svg, (WIDTH, PANEL_HEIGHT * panels.len() as u32)).into_drawing_area();
    root.fill(&PAPER)?;
    for (i, (area, panel)) in root.split_evenly((panels.len(), 1)).iter().zip(panels).enumerate() {
        draw_panel(area, panel, steps, best, i + 1 == panels.len())?;
    }
    root.present()?;
    Ok(())
}

fn draw_panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    panel: &Panel,
    steps: f64,
    best: Option<f64>,
    last: bool,
) -> DrawResult {
    let style = |size: u32, colour: &RGBColor| ("sans-serif", size).into_font().color(colour);
    area.draw(&Text::new(panel.title, (20, 16), ("sans-serif", 16, FontStyle::Bold).into_font().color(&INK)))?;
    // The legend, from the right.
    let mut right = WIDTH as i32 - 24;
    let kept = best.map(|_| ("kept".to_string(), INK));
    let names = panel.lines.iter().map(|l| (l.name.clone(), l.colour)).chain(kept);
    for (name, colour) in names.collect::<Vec<_>>().into_iter().rev() {
        right -= LETTER * name.len() as i32;
        area.draw(&Text::new(name, (right, 17), style(14, &SOFT)))?;
        if colour == INK {
            for top in [18, 25] {
                area.draw(&PathElement::new(vec![(right - 9, top), (right - 9, top + 4)], INK.stroke_width(1)))?;
            }
        } else {
            area.draw(&Circle::new((right - 11, 24), 5, colour.filled()))?;
        }
        right -= 36;
    }

    let scale = if panel.percent { 100.0 } else { 1.0 };
    let values = || panel.lines.iter().flat_map(|l| &l.points).map(|p| p.1 * scale);
    let (low, high) = values().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let room = ((high - low) * 0.08).max(high.abs() * 0.01).max(1e-3);
    // Shares start at 0, so that heights can be compared; losses do not.
    let y = if panel.percent { 0.0..(high + room).max(1.0) } else { (low - room).max(0.0)..high + room };
    let mut chart = ChartBuilder::on(area)
        .margin_top(46)
        .margin_right(24)
        .margin_left(8)
        .margin_bottom(4)
        .x_label_area_size(if last { 46 } else { 28 })
        .y_label_area_size(58)
        .build_cartesian_2d(0.0..steps, y.clone())?;
    let digits = if y.end - y.start < 0.5 { 3 } else { 2 };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(style(14, &SOFT))
        .axis_desc_style(style(14, &SOFT))
        .x_desc(if last { "optimiser steps" } else { "" })
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|v| format!("{v:.0}"))
        .y_label_formatter(&|v| if panel.percent { format!("{v:.0} %") } else { format!("{v:.digits$}") })
        .draw()?;

    if let Some(best) = best {
        let dashes = (0..40).filter(|i| i % 2 == 0).map(|i| {
            let at = |i: i32| y.start + (y.end - y.start) * f64::from(i) / 40.0;
            PathElement::new(vec![(best, at(i)), (best, at(i + 1))], INK.mix(0.6).stroke_width(1))
        });
        chart.draw_series(dashes)?;
    }
    for line in &panel.lines {
        let points: Vec<(f64, f64)> = line.points.iter().map(|(x, v)| (*x, v * scale)).collect();
        if line.noisy && points.len() > 8 {
            chart.draw_series(LineSeries::new(points.iter().copied(), line.colour.mix(0.3).stroke_width(1)))?;
            chart.draw_series(LineSeries::new(running_mean(&points), line.colour.stroke_width(2)))?;
        } else {
            chart.draw_series(LineSeries::new(points.iter().copied(), line.colour.stroke_width(2)))?;
        }
        if !line.noisy && points.len() <= FEW {
            chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, line.colour.filled())))?;
        }
        if let Some(kept) = points.iter().find(|p| !line.noisy && Some(p.0) == best) {
            chart.draw_series([Circle::new(*kept, 6, line.colour.filled())])?;
            let beyond = kept.0 > 0.8 * steps;
            let above = (kept.1 - y.start) < 0.85 * (y.end - y.start);
            let anchor =
                Pos::new(if beyond { HPos::Right } else { HPos::Left }, if above { VPos::Bottom } else { VPos::Top });
            let text = if panel.percent { format!("{:.1} %", kept.1) } else { format!("{:.3}", kept.1) };
            let label = style(14, &INK).pos(anchor);
            let (dx, dy) = (if beyond { -9 } else { 9 }, if above { -6 } else { 6 });
            chart.draw_series([EmptyElement::at(*kept) + Text::new(text, (dx, dy), label)])?;
        }
    }
    Ok(())
}

/// Mean over a window of about a twentieth of the points, centred.
fn running_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let half = (points.len() / 40).max(1);
    let window = |i: usize| &points[i.saturating_sub(half)..(i + half + 1).min(points.len())];
    let mean = |w: &[(f64, f64)]| w.iter().map(|p| p.1).sum::<f64>() / w.len() as f64;
    points.iter().enumerate().map(|(i, p)| (p.0, mean(window(i)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve() -> Vec<LmPoint> {
        let mut curve = Vec::new();
        for step in 0..=120u64 {
            let at = step as f64 / 40.0;
            if step > 0 {
                let wobble = ((step * 7919) % 100) as f64 / 250.0;
                let loss = Some(1.2 + 2.5 * (-at).exp() + wobble);
                let items_loss = Some(3.0 + 2.0 * (-at).exp() + wobble);
                curve.push(LmPoint { step, loss, items_loss, learning_rate: 1e-4, ..LmPoint::default() });
            }
            if step % 10 == 0 {
                let held_out = Some(1.5 + 2.4 * (-at).exp() + (at - 2.0).max(0.0) * 0.2);
                let held_out_items = Some(3.4 + 1.8 * (-at).exp());
                let recall = Some(0.3 - 0.25 * (-at).exp());
                curve.push(LmPoint { step, held_out, held_out_items, recall, ..LmPoint::default() });
            }
        }
        curve
    }

    #[test]
    fn the_picture_shows_what_there_is_and_stands_nothing_and_nan() {
        let all = loss_chart(&curve(), Some(80), 20).unwrap();
        if let Some(path) = std::env::var_os("CAUSERIE_LOSS_SVG") {
            std::fs::write(path, &all).unwrap();
        }
        for part in ["nats per token", "Ranking head", "held-out Recall@20", "optimiser steps", "kept", "#0072B2"] {
            assert!(all.contains(part), "{part}");
        }
        let text: Vec<LmPoint> = curve()
            .into_iter()
            .map(|p| LmPoint { items_loss: None, held_out_items: None, recall: None, ..p })
            .collect();
        let text = loss_chart(&text, None, 20).unwrap();
        assert!(!text.contains("Ranking head") && !text.contains("Recall") && !text.contains("kept"));
        assert!(text.contains("height=\"300\""));
        assert!(loss_chart(&[], None, 20).unwrap().contains("nats per token"));
        let broken = [LmPoint { step: 1, loss: Some(f64::NAN), ..LmPoint::default() }];
        assert!(!loss_chart(&broken, Some(1), 20).unwrap().contains("NaN"));
    }

    #[test]
    fn the_running_mean_smooths_and_keeps_a_line_a_line() {
        let line: Vec<(f64, f64)> = (0..100).map(|i| (f64::from(i), 2.0 * f64::from(i))).collect();
        let smooth = running_mean(&line);
        assert!(smooth[5..95].iter().zip(&line[5..95]).all(|(a, b)| (a.1 - b.1).abs() < 1e-9 && a.0 == b.0));
    }
}
