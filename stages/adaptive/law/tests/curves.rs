//! The picture of the documentation, drawn by the law itself: it fails where the two differ.
//! `UPDATE_SNAPSHOTS=1 cargo test -p omnizap-stages --lib adaptive::law` draws it anew.

use std::fmt::Write as _;
use std::path::Path;

use super::{Balances, Kinship, Picture, judge, scores};

/// Beside the page that shows it.
const FILE: &str = "numbers.svg";
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 50.0;
/// Judgements at the right end, as a power of ten.
const DECADES: f64 = 4.0;
/// Points of a curve in a decade.
const POINTS: usize = 12;

struct Curve {
    name: &'static str,
    colour: &'static str,
    sign: f64,
    kinship: Kinship,
}

/// The score of a picture's first label, 0.55 of two, after so many judgements.
fn score(curve: &Curve, judgements: f64) -> f64 {
    let picture = Picture::of(vec![0.55, 0.45]);
    let mut balances = Balances::none(2);
    judge(
        &mut balances,
        &picture,
        curve.sign * judgements,
        curve.kinship,
    );
    scores(&picture, &balances, 0.4)[0]
}

fn x(judgements: f64) -> f64 {
    // One judgement stands a quarter of a decade from none.
    let place = (judgements.log10() + 0.25) / (DECADES + 0.25);
    let place = if judgements < 1.0 { 0.0 } else { place };
    LEFT + place * (WIDTH - LEFT - RIGHT)
}

fn y(score: f64) -> f64 {
    let (lowest, highest) = (0.3, 0.8);
    HEIGHT - BOTTOM - (score - lowest) / (highest - lowest) * (HEIGHT - TOP - BOTTOM)
}

fn svg() -> Result<String, std::fmt::Error> {
    let curves = [
        (
            "the picture itself, accepted",
            "#0b6e4f",
            1.0,
            Kinship::Itself,
        ),
        (
            "a near copy (cosine 0.95)",
            "#2a9d8f",
            1.0,
            Kinship::Near(0.95),
        ),
        ("others of the theme", "#8ab17d", 1.0, Kinship::Theme),
        ("others of the theme", "#e9a05b", -1.0, Kinship::Theme),
        (
            "a near copy (cosine 0.95)",
            "#e76f51",
            -1.0,
            Kinship::Near(0.95),
        ),
        (
            "the picture itself, rejected",
            "#a4133c",
            -1.0,
            Kinship::Itself,
        ),
    ];
    let mut out = String::new();
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">"
    )?;
    writeln!(
        out,
        "<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>"
    )?;
    writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"22\" font-size=\"14\">Score of a label after n judgements \
         (0.55 without, two labels, ADAPTIVE_ALPHA 0.4)</text>"
    )?;
    for tenth in 3..=8 {
        let value = f64::from(tenth) / 10.0;
        let (at, end) = (y(value), WIDTH - RIGHT);
        writeln!(
            out,
            "<path d=\"M{LEFT} {at:.1}H{end}\" stroke=\"#dddddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value:.1}</text>",
            LEFT - 8.0,
            at + 4.0
        )?;
    }
    for judgements in [0.0, 1.0, 10.0, 100.0, 1000.0, 10_000.0] {
        let at = x(judgements);
        writeln!(
            out,
            "<path d=\"M{at:.1} {TOP}V{:.1}\" stroke=\"#eeeeee\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{judgements}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 18.0
        )?;
    }
    for (name, colour, sign, kinship) in curves {
        let curve = Curve {
            name,
            colour,
            sign,
            kinship,
        };
        draw(&mut out, &curve)?;
    }
    out.push_str("</svg>\n");
    Ok(out)
}

fn draw(out: &mut String, curve: &Curve) -> std::fmt::Result {
    let decades = (0..=POINTS * DECADES as usize).map(|step| step as f64 / POINTS as f64);
    let counts = std::iter::once(0.0).chain(decades.map(|decade| 10f64.powf(decade)));
    let points = counts.map(|n| format!("{:.1},{:.1}", x(n), y(score(curve, n))));
    let points: Vec<_> = points.collect();
    let end = y(score(curve, 10f64.powf(DECADES)));
    // The three names of a bundle stand above each other.
    let order = match curve.kinship {
        Kinship::Itself => 0.0,
        Kinship::Near(_) => 1.0,
        Kinship::Theme => 2.0,
    };
    writeln!(
        out,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{1}\" stroke-width=\"2\"/>\
         <text x=\"{2:.1}\" y=\"{3:.1}\" fill=\"{1}\">{4}</text>",
        points.join(" "),
        curve.colour,
        WIDTH - RIGHT + 8.0,
        end + 4.0 + curve.sign * (order * 16.0),
        curve.name
    )
}

#[test]
fn the_picture_of_the_documentation_is_what_the_law_draws() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let drawn = svg().unwrap();
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &drawn).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(
        kept == drawn,
        "stages/numbers.svg is not what the law draws: see this file"
    );
}
