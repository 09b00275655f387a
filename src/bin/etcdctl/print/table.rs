//! Tables with drawn borders: headings in capitals and centred, cells to the right.

pub(super) fn render(columns: &[&str], rows: &[Vec<String>]) -> Vec<u8> {
    let headings: Vec<String> = columns.iter().map(|c| c.to_uppercase()).collect();
    let width = |at: usize| {
        let cells = rows.iter().map(|r| columns_of(&r[at]));
        cells.chain(std::iter::once(columns_of(&headings[at]))).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let border = |left: &str, middle: &str, right: &str| {
        let lines: Vec<String> = widths.iter().map(|w| "─".repeat(w + 2)).collect();
        format!("{left}{}{right}\n", lines.join(middle))
    };
    let mut out = border("┌", "┬", "┐");
    out += &line(&headings, &widths, |slack| slack / 2);
    if !rows.is_empty() {
        out += &border("├", "┼", "┤");
        for row in rows {
            out += &line(row, &widths, |slack| slack);
        }
    }
    out += &border("└", "┴", "┘");
    out.into_bytes()
}

/// One line of cells; `left` says how many of the spare columns stand before the text.
fn line(cells: &[String], widths: &[usize], left: impl Fn(usize) -> usize) -> String {
    let mut out = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let slack = width - columns_of(cell);
        let before = left(slack);
        out += &format!("│ {}{cell}{} ", " ".repeat(before), " ".repeat(slack - before));
    }
    out + "│\n"
}

/// Screen columns of a text, taking one for each character: endpoints, versions and errors are plain text.
fn columns_of(text: &str) -> usize {
    text.chars().count()
}
