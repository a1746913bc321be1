//! Line charts as SVG, drawn by plotters in stand-in colours that the page's style sheet replaces: so that one drawing
//! serves the light and the dark page.

use crate::error::{Error, Result};
use plotters::prelude::*;
use std::fmt::Write as _;

/// A line of a chart.
pub struct Line {
    /// Its name in the legend.
    pub label: String,
    /// Points, x ascending.
    pub points: Vec<(f64, f64)>,
}

/// Colours of lines before they repeat; `report.css` holds the real ones.
pub const COLOURS: usize = 7;
const GRID: RGBColor = RGBColor(0, 0, 0xf0);
const INK: RGBColor = RGBColor(0, 0, 0xf1);
/// Pixels before scaling.
const SIZE: (u32, u32) = (520, 300);

fn stand_in(line: usize) -> RGBColor {
    RGBColor(0, 0, (line % COLOURS) as u8 + 1)
}

/// A chart of `lines` with its legend, as an HTML figure. `percent`: y values are shares, shown as percentages.
///
/// # Errors
/// [`crate::ErrorKind::Bug`] when it cannot be drawn.
pub fn lines(title: &str, x_name: &str, lines: &[Line], percent: bool) -> Result<String> {
    let points = || lines.iter().flat_map(|l| &l.points).filter(|(x, y)| x.is_finite() && y.is_finite());
    let scale = if percent { 100.0 } else { 1.0 };
    let bounds = |of: &dyn Fn(&(f64, f64)) -> f64| {
        points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    };
    let (mut x_low, mut x_high) = bounds(&|p| p.0);
    let (y_low, y_high) = bounds(&|p| p.1 * scale);
    if x_low > x_high {
        return Ok(String::new());
    }
    if percent {
        x_low = x_low.min(0.0);
    }
    if x_low == x_high {
        (x_low, x_high) = (x_low * 0.5, x_high * 1.5 + 1.0);
    }
    let room = ((y_high - y_low) * 0.12).max(y_high.abs() * 0.02).max(1e-3);
    // Shares start at 0, so that heights can be compared; losses do not.
    let (y_low, y_high) = if percent { (0.0, y_high + room) } else { (y_low - room, y_high + room) };

    let mut svg = String::new();
    draw(&mut svg, x_name, lines, (x_low, x_high), (y_low, y_high), scale)
        .map_err(|e| Error::bug(format!("chart {title}: {e}")))?;
    let mut out = String::new();
    let _ = write!(out, "<figure class=\"chart\"><figcaption>{}</figcaption>", super::markup::escape(title));
    let _ = write!(
        out,
        "{}",
        svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{}\" ", super::markup::escape(title)), 1)
    );
    out.push_str("<ul class=\"legend\">");
    for (i, line) in lines.iter().enumerate() {
        let mark = ["●", "▲", "■"][i % 3];
        let _ = write!(
            out,
            "<li><span class=\"mark k{}\">{mark}</span>{}</li>",
            i % COLOURS,
            super::markup::escape(&line.label)
        );
    }
    out.push_str("</ul></figure>");
    Ok(out)
}

fn draw(
    svg: &mut String,
    x_name: &str,
    lines: &[Line],
    x: (f64, f64),
    y: (f64, f64),
    scale: f64,
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin(6)
        .margin_right(18)
        .x_label_area_size(46)
        .y_label_area_size(56)
        .build_cartesian_2d(x.0..x.1, y.0..y.1)?;
    let percent = scale != 1.0;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(("sans-serif", 16).into_font().color(&INK))
        .axis_desc_style(("sans-serif", 16).into_font().color(&INK))
        .x_desc(x_name)
        .x_labels(5)
        .y_labels(6)
        .x_label_formatter(&|v| super::markup::grouped(v.round().max(0.0) as u64))
        .y_label_formatter(&|v| if percent { format!("{v:.0} %") } else { format!("{v:.2}") })
        .draw()?;
    for (i, line) in lines.iter().enumerate() {
        let colour = stand_in(i);
        let points =
            || line.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite()).map(|(x, y)| (*x, y * scale));
        chart.draw_series(LineSeries::new(points(), colour.stroke_width(2)))?;
        let few = line.points.len() <= 24;
        match i % 3 {
            _ if !few => {}
            0 => drop(chart.draw_series(points().map(|p| Circle::new(p, 4, colour.filled())))?),
            1 => drop(chart.draw_series(points().map(|p| TriangleMarker::new(p, 5, colour.filled())))?),
            _ => {
                let square = |p| EmptyElement::at(p) + Rectangle::new([(-4, -4), (4, 4)], colour.filled());
                chart.draw_series(points().map(square))?;
            }
        }
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_holds_its_lines_and_stands_nan_one_point_and_none() {
        let line = |points: &[(f64, f64)]| Line { label: "js & <fisher>".into(), points: points.to_vec() };
        let two = lines(
            "Recall@20",
            "seeds",
            &[line(&[(500.0, 0.1), (1000.0, 0.2)]), line(&[(500.0, f64::NAN), (700.0, 0.2)])],
            true,
        )
        .unwrap();
        assert!(two.contains("js &amp; &lt;fisher&gt;") && two.contains("#000001") && two.contains("#000002"));
        assert!(two.contains("Recall@20") && two.contains("20 %"), "{two}");
        assert!(lines("t", "x", &[line(&[(3.0, 0.0)])], false).unwrap().contains("<svg role"));
        assert_eq!(lines("t", "x", &[], true).unwrap(), "");
        assert_eq!(lines("t", "x", &[line(&[(f64::NAN, 1.0)])], true).unwrap(), "");
    }
}
