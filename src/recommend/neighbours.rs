//! The nearest rows of a matrix by dot product, in blocks: never the full `[queries, rows]` product at once.

use crate::error::{Error, Result};
use crate::math::{Matrix, product_nt};
use crate::run::Run;
use rayon::prelude::*;

/// Queries per pass.
const QUERY_ROWS: usize = 256;
/// Rows per task: fixed, so that the bytes do not depend on the number of threads.
const TASK_ROWS: usize = 4096;

/// A row near to a query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// The row.
    pub row: u32,
    /// Dot product with the query: the cosine, for rows of unit length.
    pub similarity: f32,
}

fn nearer(a: &Neighbour, b: &Neighbour) -> std::cmp::Ordering {
    b.similarity.total_cmp(&a.similarity).then(a.row.cmp(&b.row))
}

/// Rows of `TASK_ROWS` each, so that the product needs no copies.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Blocks {
    blocks: Vec<Matrix>,
    rows: usize,
    dim: usize,
}

impl Blocks {
    pub fn new(rows: &Matrix) -> Blocks {
        let blocks = (0..rows.rows())
            .step_by(TASK_ROWS)
            .map(|start| rows.gather(&(start..(start + TASK_ROWS).min(rows.rows())).collect::<Vec<_>>()))
            .collect();
        Blocks { blocks, rows: rows.rows(), dim: rows.dim() }
    }
    pub fn rows(&self) -> usize {
        self.rows
    }
    pub fn dim(&self) -> usize {
        self.dim
    }
    /// All rows again, `[rows * dim]`.
    pub fn data(&self) -> Vec<f32> {
        self.blocks.iter().flat_map(|b| b.data().iter().copied()).collect()
    }
    pub fn row(&self, row: usize) -> &[f32] {
        self.blocks[row / TASK_ROWS].row(row % TASK_ROWS)
    }

    /// The `k` nearest rows of each query, nearest first, ties to the lowest row; rows that `skip` names are left out.
    ///
    /// `queries`: `[queries, dim]`. Gives `[queries]` lists of at most `k`.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] when the dimensions differ; [`crate::ErrorKind::Cancelled`].
    pub fn nearest(
        &self,
        queries: &Matrix,
        k: usize,
        skip: &(dyn Fn(usize) -> bool + Sync),
        run: &Run,
    ) -> Result<Vec<Vec<Neighbour>>> {
        if queries.dim() != self.dim && queries.rows() > 0 {
            return Err(Error::invalid(format!(
                "neighbours: queries of {} dimensions among rows of {}; embed both the same way",
                queries.dim(),
                self.dim
            )));
        }
        let mut lists = Vec::with_capacity(queries.rows());
        for start in (0..queries.rows()).step_by(QUERY_ROWS) {
            let some = queries.gather(&(start..(start + QUERY_ROWS).min(queries.rows())).collect::<Vec<_>>());
            let found: Vec<Vec<Vec<Neighbour>>> = run.install(|| {
                self.blocks
                    .par_iter()
                    .enumerate()
                    .map(|(block, rows)| {
                        let products = product_nt(&some, rows)?;
                        Ok((0..some.rows()).map(|q| top(products.row(q), block * TASK_ROWS, k, skip)).collect())
                    })
                    .collect::<Result<_>>()
            })?;
            for query in 0..some.rows() {
                let mut list: Vec<Neighbour> = found.iter().flat_map(|block| block[query].iter().copied()).collect();
                list.sort_unstable_by(nearer);
                list.truncate(k);
                lists.push(list);
            }
            run.step("recommend", "contexts", lists.len() as u64, queries.rows() as u64)?;
        }
        Ok(lists)
    }
}

fn top(products: &[f32], first_row: usize, k: usize, skip: &(dyn Fn(usize) -> bool + Sync)) -> Vec<Neighbour> {
    let mut list: Vec<Neighbour> = products
        .iter()
        .enumerate()
        .filter(|(at, _)| !skip(first_row + at))
        .map(|(at, &similarity)| Neighbour { row: (first_row + at) as u32, similarity })
        .collect();
    if k == 0 {
        return Vec::new();
    }
    if list.len() > k {
        list.select_nth_unstable_by(k - 1, nearer);
        list.truncate(k);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::{Random, dot};

    #[test]
    fn blocked_neighbours_agree_with_the_full_scan_and_do_not_depend_on_threads() {
        let mut random = Random::new(3, b"neighbours");
        let mut matrix =
            |rows| Matrix::from_vec(rows, 6, (0..rows * 6).map(|_| random.below(5) as f32 - 2.0).collect());
        let (rows, queries) = (matrix(TASK_ROWS + 900).unwrap(), matrix(300).unwrap());
        let blocks = Blocks::new(&rows);
        let skip = |row: usize| row.is_multiple_of(7);
        let two = blocks.nearest(&queries, 25, &skip, &Run::new(2).unwrap()).unwrap();
        assert_eq!(two, blocks.nearest(&queries, 25, &skip, &Run::new(1).unwrap()).unwrap());
        for query in [0, 299] {
            // Small whole numbers: the products are exact, ties are many, and the order among them is tested too.
            let mut slow: Vec<(f64, usize)> = (0..rows.rows())
                .filter(|row| !skip(*row))
                .map(|row| (dot(queries.row(query), rows.row(row)), row))
                .collect();
            slow.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let fast: Vec<(f64, usize)> =
                two[query].iter().map(|n| (f64::from(n.similarity), n.row as usize)).collect();
            assert_eq!(fast, slow[..25]);
        }
        assert_eq!(blocks.data(), rows.data());
        assert_eq!(blocks.row(TASK_ROWS + 3), rows.row(TASK_ROWS + 3));
    }
}
