//! Rectangles in a rectangle: areas as numbers say, shapes as square as they can be.

/// A rectangle, in hundredths of the one it is in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

/// Lays out `weights`, greatest first, in a rectangle that is `aspect` times as wide as it is high. Rows are closed when
/// another rectangle would make their shapes worse (Bruls, Huizing, van Wijk: squarified treemaps).
pub fn squarified(weights: &[u64], aspect: f64) -> Vec<Rect> {
    let total: f64 = weights.iter().map(|weight| *weight as f64).sum();
    let mut out = Vec::with_capacity(weights.len());
    if total <= 0.0 {
        return vec![Rect { x: 0.0, y: 0.0, w: 0.0, h: 0.0 }; weights.len()];
    }
    let (width, height) = (aspect, 1.0);
    let scale = width * height / total;
    let areas: Vec<f64> = weights.iter().map(|weight| *weight as f64 * scale).collect();
    let mut free = Rect { x: 0.0, y: 0.0, w: width, h: height };
    let mut rest = areas.as_slice();
    while !rest.is_empty() {
        let side = free.w.min(free.h);
        let mut row = 1;
        while row < rest.len()
            && worst(rest.get(..=row).unwrap_or_default(), side)
                <= worst(rest.get(..row).unwrap_or_default(), side)
        {
            row += 1;
        }
        let (now, later) = rest.split_at(row);
        let sum: f64 = now.iter().sum();
        let thick = if side > 0.0 { sum / side } else { 0.0 };
        let mut along = 0.0;
        for area in now {
            let long = if thick > 0.0 { area / thick } else { 0.0 };
            out.push(if free.w >= free.h {
                Rect { x: free.x, y: free.y + along, w: thick, h: long }
            } else {
                Rect { x: free.x + along, y: free.y, w: long, h: thick }
            });
            along += long;
        }
        if free.w >= free.h {
            free.x += thick;
            free.w = (free.w - thick).max(0.0);
        } else {
            free.y += thick;
            free.h = (free.h - thick).max(0.0);
        }
        rest = later;
    }
    let hundredths = |rect: Rect| Rect {
        x: rect.x / width * 100.0,
        y: rect.y * 100.0,
        w: rect.w / width * 100.0,
        h: rect.h * 100.0,
    };
    out.into_iter().map(hundredths).collect()
}

/// The worst ratio of sides in a row along `side`.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let (least, greatest) = row.iter().fold((f64::MAX, 0.0_f64), |(least, greatest), area| {
        (least.min(*area), greatest.max(*area))
    });
    if least <= 0.0 || sum <= 0.0 {
        return f64::MAX;
    }
    let (side, sum) = (side * side, sum * sum);
    (side * greatest / sum).max(sum / (side * least))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_fill_the_whole_and_are_as_large_as_their_weights() {
        for weights in [vec![6, 6, 4, 3, 2, 2, 1], vec![1], vec![1000, 1, 1, 1], vec![5; 40]] {
            let rects = squarified(&weights, 1.7);
            let total: u64 = weights.iter().sum();
            assert_eq!(rects.len(), weights.len());
            for (rect, weight) in rects.iter().zip(&weights) {
                let share = *weight as f64 / total as f64;
                assert!((rect.w * rect.h / 10_000.0 - share).abs() < 1e-9, "{rect:?}");
                let inside = rect.x >= -1e-9
                    && rect.x + rect.w <= 100.0 + 1e-9
                    && rect.y + rect.h <= 100.0 + 1e-9;
                assert!(inside, "{rect:?}");
            }
            for (at, one) in rects.iter().enumerate() {
                for other in rects.iter().skip(at + 1) {
                    let apart = one.x + one.w <= other.x + 1e-9
                        || other.x + other.w <= one.x + 1e-9
                        || one.y + one.h <= other.y + 1e-9
                        || other.y + other.h <= one.y + 1e-9;
                    assert!(apart, "{one:?} {other:?}");
                }
            }
        }
        assert_eq!(squarified(&[0, 0], 1.0).len(), 2);
    }
}
