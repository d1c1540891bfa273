//! Where boxes and arrows go: columns by the longest path, rows by the mean of the neighbours.

use std::collections::BTreeMap;

/// How large a box is, in pixels.
pub struct Size {
    /// From its left side to its right.
    pub width: f64,
    /// From its top to its bottom.
    pub height: f64,
}

/// Where everything is.
pub struct GraphLayout {
    /// The left upper corner of each box.
    pub boxes: Vec<(f64, f64)>,
    /// The width of each box: as wide as the widest of its column.
    pub widths: Vec<f64>,
    /// The points that each arrow passes, from the box it leaves to the one it enters.
    pub arrows: Vec<Vec<(f64, f64)>>,
    /// The size of the whole.
    pub size: (f64, f64),
}

/// Space around the picture.
const MARGIN: f64 = 24.0;
/// Space between two boxes of a column.
const ROW_GAP: f64 = 22.0;
/// The height of the way that an arrow takes through a column.
const LANE: f64 = 10.0;

/// A box, or the place where an arrow passes a column.
struct Item {
    column: usize,
    height: f64,
    y: f64,
    before: Vec<usize>,
    after: Vec<usize>,
}

/// Places boxes, which are sorted topologically, and arrows `(from, to)`; between columns there is `gap`.
pub fn lay_out(boxes: &[Size], arrows: &[(usize, usize)], gap: f64) -> GraphLayout {
    let columns = columns(boxes.len(), arrows);
    let mut items: Vec<Item> = boxes
        .iter()
        .zip(&columns)
        .map(|(size, column)| Item {
            column: *column,
            height: size.height,
            y: 0.0,
            before: Vec::new(),
            after: Vec::new(),
        })
        .collect();
    let ways: Vec<Vec<usize>> = arrows.iter().map(|(from, to)| way(&mut items, *from, *to)).collect();
    let count = columns.iter().max().map_or(0, |last| last + 1);
    let mut rows: Vec<Vec<usize>> =
        (0..count).map(|column| (0..items.len()).filter(|item| items[*item].column == column).collect()).collect();
    arrange(&mut items, &mut rows);

    let widths: Vec<f64> = (0..count)
        .map(|column| {
            (0..boxes.len()).filter(|node| columns[*node] == column).map(|node| boxes[node].width).fold(0.0, f64::max)
        })
        .collect();
    let left = |column: usize| MARGIN + widths[..column].iter().map(|width| width + gap).sum::<f64>();
    let places: Vec<_> = (0..boxes.len()).map(|node| (left(columns[node]), items[node].y)).collect();
    let arrows = route(&items, &ways, boxes.len(), |column| (left(column), left(column) + widths[column]));
    let bottom = items.iter().map(|item| item.y + item.height).fold(0.0, f64::max);
    let right = if count == 0 { MARGIN } else { left(count - 1) + widths[count - 1] };
    GraphLayout {
        boxes: places,
        widths: columns.iter().map(|column| widths[*column]).collect(),
        arrows,
        size: (right + MARGIN, bottom + MARGIN),
    }
}

/// The column of each box: one after the last that leads to it; what nothing leads to comes right before its first use.
fn columns(count: usize, arrows: &[(usize, usize)]) -> Vec<usize> {
    let (mut before, mut after) = (vec![Vec::new(); count], vec![Vec::new(); count]);
    for (from, to) in arrows {
        before[*to].push(*from);
        after[*from].push(*to);
    }
    let mut columns = vec![0_usize; count];
    for node in 0..count {
        columns[node] = before[node].iter().map(|from| columns[*from] + 1).max().unwrap_or(0);
    }
    for node in 0..count {
        if before[node].is_empty() {
            let first_use = after[node].iter().map(|to| columns[*to]).min();
            columns[node] = first_use.unwrap_or(1).saturating_sub(1);
        }
    }
    columns
}

/// The items that an arrow passes; in the columns between its ends, new ones.
fn way(items: &mut Vec<Item>, from: usize, to: usize) -> Vec<usize> {
    let mut way = vec![from];
    for column in items[from].column + 1..items[to].column {
        way.push(items.len());
        items.push(Item { column, height: LANE, y: 0.0, before: Vec::new(), after: Vec::new() });
    }
    way.push(to);
    for pair in way.windows(2) {
        items[pair[0]].after.push(pair[1]);
        items[pair[1]].before.push(pair[0]);
    }
    way
}

/// Orders each column by the mean of its neighbours, forth and back, until little moves; then puts each item as near to
/// that mean as the others of its column allow.
fn arrange(items: &mut [Item], rows: &mut [Vec<usize>]) {
    for row in rows.iter() {
        stack(items, row);
    }
    for pass in 0..24 {
        let forth = pass % 2 == 0;
        let order: Vec<usize> = if forth { (0..rows.len()).collect() } else { (0..rows.len()).rev().collect() };
        for column in order {
            let wanted: Vec<(usize, f64)> =
                rows[column].iter().map(|item| (*item, wanted(items, *item, forth))).collect();
            let mut sorted = wanted;
            sorted.sort_by(|one, other| one.1.total_cmp(&other.1));
            rows[column] = sorted.iter().map(|(item, _)| *item).collect();
            settle(items, &sorted);
        }
    }
    let top = items.iter().map(|item| item.y).fold(f64::INFINITY, f64::min);
    for item in items {
        item.y += MARGIN - top;
    }
}

fn stack(items: &mut [Item], row: &[usize]) {
    let mut y = 0.0;
    for item in row {
        items[*item].y = y;
        y += items[*item].height + ROW_GAP;
    }
}

/// The middle that an item would like: the mean of those it is joined to.
fn wanted(items: &[Item], item: usize, forth: bool) -> f64 {
    let this = &items[item];
    let (first, second) = if forth { (&this.before, &this.after) } else { (&this.after, &this.before) };
    let neighbours = if first.is_empty() { second } else { first };
    let middle = |item: &Item| item.y + item.height / 2.0;
    if neighbours.is_empty() {
        return middle(this);
    }
    neighbours.iter().map(|other| middle(&items[*other])).sum::<f64>() / neighbours.len() as f64
}

/// Places a column's items in order, each as near to its wanted middle as it goes without touching another: runs of
/// items that would touch are placed as one, around the mean of what they want.
fn settle(items: &mut [Item], column: &[(usize, f64)]) {
    // Each run: its items, the mean of their wanted tops, taken as if each were the first, and its length.
    let mut runs: Vec<(Vec<usize>, f64, f64)> = Vec::new();
    for (item, wanted) in column {
        let height = items[*item].height;
        let mut run = (vec![*item], wanted - height / 2.0, height + ROW_GAP);
        while let Some((mut before, top, length)) = runs.pop() {
            if top + length <= run.1 {
                runs.push((before, top, length));
                break;
            }
            let (count, others) = (before.len() as f64, run.0.len() as f64);
            let joined = (top * count + (run.1 - length) * others) / (count + others);
            before.extend(run.0);
            run = (before, joined, length + run.2);
        }
        runs.push(run);
    }
    for (run, top, _) in runs {
        let mut y = top;
        for item in run {
            items[item].y = y;
            y += items[item].height + ROW_GAP;
        }
    }
}

/// The points of each arrow. Those that leave or enter a box share its side evenly, in the order of their other ends.
fn route(
    items: &[Item],
    ways: &[Vec<usize>],
    boxes: usize,
    sides: impl Fn(usize) -> (f64, f64),
) -> Vec<Vec<(f64, f64)>> {
    let middle = |item: usize| items[item].y + items[item].height / 2.0;
    // For each arrow its place among those that share its end, and their number.
    let shares = |leaving: bool| {
        let end = |way: &[usize]| if leaving { (way[0], way[1]) } else { (way[way.len() - 1], way[way.len() - 2]) };
        let mut sharing: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (arrow, way) in ways.iter().enumerate() {
            sharing.entry(end(way).0).or_default().push(arrow);
        }
        let mut shares = vec![(0, 0); ways.len()];
        for arrows in sharing.values_mut() {
            arrows.sort_by(|one, two| middle(end(&ways[*one]).1).total_cmp(&middle(end(&ways[*two]).1)));
            arrows.iter().enumerate().for_each(|(place, arrow)| shares[*arrow] = (place, arrows.len()));
        }
        shares
    };
    let (leaving, entering) = (shares(true), shares(false));
    let port = |item: usize, (place, count): (usize, usize)| {
        items[item].y + items[item].height * (place as f64 + 1.0) / (count as f64 + 1.0)
    };
    ways.iter()
        .enumerate()
        .map(|(arrow, way)| {
            let mut points = Vec::new();
            for (position, item) in way.iter().enumerate() {
                let (left, right) = sides(items[*item].column);
                if *item >= boxes {
                    points.extend([(left, middle(*item)), (right, middle(*item))]);
                } else if position == 0 {
                    points.push((right, port(*item, leaving[arrow])));
                } else {
                    points.push((left, port(*item, entering[arrow])));
                }
            }
            points
        })
        .collect()
}
