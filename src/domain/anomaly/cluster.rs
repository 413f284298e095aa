//! Finds what the segments of the past have in common.
//!
//! It decides how many clusters there are: as many as give the best mean silhouette, and a single one where no division
//! is convincing. What is far from all of them but not alone there is normal, too: a machine is switched on and off far
//! less often than it runs. What remains are reference points; how far a new segment is from the nearest of them is how
//! far it is from normal. The clustering itself is done by linfa, with its fixed seed: same past, same clusters.

use super::real;
use linfa::DatasetBase;
use linfa::traits::{Fit as _, Transformer as _};
use linfa_clustering::{Dbscan, GaussianMixtureModel, KMeans};
use ndarray::Array2;

/// Segments that take part in the clustering: evenly spread over a longer past.
const MOST_POINTS: usize = 2_000;
/// Segments by which a number of clusters is judged; every pair of them is compared.
const MOST_JUDGED: usize = 300;
/// Numbers of clusters that are tried.
const MOST_CLUSTERS: usize = 8;
/// Below this silhouette there is no reasonable structure (Kaufman and Rousseeuw): one cluster.
const CONVINCING: f64 = 0.25;
/// Segments that are far from all clusters: one in eight.
const FAR: f64 = 7.0 / 8.0;
/// Of those, so many together are normal, too: what happened once or twice is not normal yet.
const SMALLEST_GROUP: usize = 3;
/// Reference points that stand for them.
const MOST_OUTSIDE: usize = 64;
/// Neighbours that make a segment part of a density cluster.
const NEIGHBOURS: usize = 5;
/// Segments that have that many neighbours within the tolerance of a density cluster.
const DENSE: f64 = 0.95;
/// Reference points of density clusters, which have no centre.
const MOST_REFERENCES: usize = 256;

/// How clusters are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clustering {
    /// Round clusters around their means.
    #[default]
    KMeans,
    /// Clusters of any form, where segments lie densely; what lies alone is noise.
    Dbscan,
    /// Overlapping bell shapes of any direction.
    GaussianMixture,
}

impl Clustering {
    /// All kinds, in the order of the records.
    pub const ALL: [Clustering; 3] = [Clustering::KMeans, Clustering::Dbscan, Clustering::GaussianMixture];

    /// As configuration and output spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Clustering::KMeans => "k-means",
            Clustering::Dbscan => "dbscan",
            Clustering::GaussianMixture => "gaussian-mixture",
        }
    }
}

/// What is normal.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Normal {
    /// Points that stand for it.
    pub references: Vec<Vec<f64>>,
    /// How many clusters they come from.
    pub clusters: usize,
}

impl Normal {
    /// Learns it from descriptions of segments, all of one length, with so many clusters, or as many as suit best. None:
    /// there are not enough. Density clusters are as many as there are.
    pub fn learn(points: &[Vec<f64>], clustering: Clustering, clusters: Option<usize>) -> Option<Normal> {
        let points = spread_out(points, MOST_POINTS);
        points.first()?;
        let normal = match clustering {
            Clustering::KMeans => divided(&points, k_means, clusters),
            Clustering::GaussianMixture => divided(&points, gaussian_mixture, clusters),
            Clustering::Dbscan => dbscan(&points),
        };
        Some(normal.unwrap_or_else(|| Normal { references: vec![mean(&points)], clusters: 1 }))
    }

    /// How far a segment is from normal: the distance to the nearest reference, ≥ 0.
    pub fn distance(&self, point: &[f64]) -> f64 {
        self.nearest(point).map_or(0.0, |(_, distance)| distance)
    }

    fn nearest(&self, point: &[f64]) -> Option<(usize, f64)> {
        let distances = self.references.iter().map(|reference| distance(reference, point));
        distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1))
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

fn spread_out(points: &[Vec<f64>], most: usize) -> Vec<&Vec<f64>> {
    points.iter().step_by(points.len().div_ceil(most).max(1)).collect()
}

fn mean(points: &[&Vec<f64>]) -> Vec<f64> {
    let mut mean = vec![0.0; points.first().map_or(0, |point| point.len())];
    for point in points {
        mean.iter_mut().zip(*point).for_each(|(sum, value)| *sum += value / real(points.len()));
    }
    mean
}

type Divide = fn(&Array2<f64>, usize) -> Option<Vec<Vec<f64>>>;

/// The best division, and what is far from its clusters in groups.
fn divided(points: &[&Vec<f64>], divide: Divide, clusters: Option<usize>) -> Option<Normal> {
    let first = match clusters {
        None => best(points, divide),
        Some(1) => None,
        Some(clusters) => table(points)
            .and_then(|records| divide(&records, clusters.min(points.len())))
            .map(|references| Normal { references, clusters }),
    };
    let mut normal = first.unwrap_or_else(|| Normal { references: vec![mean(points)], clusters: 1 });
    let mut distances: Vec<f64> = points.iter().map(|point| normal.distance(point)).collect();
    distances.sort_by(f64::total_cmp);
    let far = *distances.get(super::share_of(distances.len(), FAR))?;
    let outside: Vec<&Vec<f64>> = points.iter().filter(|point| normal.distance(point) > far).copied().collect();
    // It has no centre, but it is in a group.
    let is_in_group = |point: &&&Vec<f64>| {
        outside.iter().filter(|other| distance(point, other) < far).take(SMALLEST_GROUP).count() == SMALLEST_GROUP
    };
    let regular: Vec<&Vec<f64>> = outside.iter().filter(is_in_group).copied().collect();
    let every = regular.len().div_ceil(MOST_OUTSIDE).max(1);
    normal.references.extend(regular.into_iter().step_by(every).cloned());
    Some(normal)
}

fn table(points: &[&Vec<f64>]) -> Option<Array2<f64>> {
    let width = points.first()?.len();
    let flat: Vec<f64> = points.iter().flat_map(|point| point.iter().copied()).collect();
    Array2::from_shape_vec((points.len(), width), flat).ok()
}

/// The division with the best silhouette; none if no division is convincing.
fn best(points: &[&Vec<f64>], divide: Divide) -> Option<Normal> {
    let records = table(points)?;
    let judged: Vec<&Vec<f64>> = points.iter().step_by(points.len().div_ceil(MOST_JUDGED).max(1)).copied().collect();
    let mut best: Option<(f64, Normal)> = None;
    // Two points a cluster, or the number of clusters says nothing.
    for clusters in 2..=MOST_CLUSTERS.min(points.len() / 2) {
        let Some(references) = divide(&records, clusters) else { continue };
        let normal = Normal { references, clusters };
        let labels: Vec<usize> =
            judged.iter().map(|point| normal.nearest(point).map_or(0, |(index, _)| index)).collect();
        let silhouette = silhouette(&judged, &labels, clusters);
        if silhouette > best.as_ref().map_or(CONVINCING, |(best, _)| *best) {
            best = Some((silhouette, normal));
        }
    }
    best.map(|(_, normal)| normal)
}

/// The mean over all points of (b − a) / max(a, b): a is the mean distance to the others of its cluster, b the smallest
/// mean distance to those of another one. A point that is alone counts 0.
fn silhouette(points: &[&Vec<f64>], labels: &[usize], clusters: usize) -> f64 {
    let mut total = 0.0;
    for (index, (point, label)) in points.iter().zip(labels).enumerate() {
        let mut sums = vec![(0.0, 0_usize); clusters];
        for (other_index, (other, other_label)) in points.iter().zip(labels).enumerate() {
            if let Some((sum, count)) = sums.get_mut(*other_label).filter(|_| other_index != index) {
                *sum += distance(point, other);
                *count += 1;
            }
        }
        let mean = |(sum, count): &(f64, usize)| (*count > 0).then(|| sum / real(*count));
        let own = sums.get(*label).and_then(mean);
        let others = sums.iter().enumerate().filter(|(cluster, _)| cluster != label).filter_map(|(_, sum)| mean(sum));
        let nearest = others.min_by(f64::total_cmp);
        if let (Some(own), Some(nearest)) = (own, nearest)
            && own.max(nearest) > 0.0
        {
            total += (nearest - own) / own.max(nearest);
        }
    }
    total / real(points.len()).max(1.0)
}

fn rows(table: &Array2<f64>) -> Option<Vec<Vec<f64>>> {
    let rows: Vec<Vec<f64>> = table.rows().into_iter().map(|row| row.to_vec()).collect();
    rows.iter().flatten().all(|value| value.is_finite()).then_some(rows)
}

fn k_means(records: &Array2<f64>, clusters: usize) -> Option<Vec<Vec<f64>>> {
    let dataset = DatasetBase::from(records.view());
    let found = KMeans::params(clusters).n_runs(2).max_n_iterations(50).tolerance(1e-3).fit(&dataset).ok()?;
    rows(found.centroids())
}

fn gaussian_mixture(records: &Array2<f64>, clusters: usize) -> Option<Vec<Vec<f64>>> {
    let dataset = DatasetBase::from(records.clone());
    let found = GaussianMixtureModel::params(clusters).n_runs(1).tolerance(1e-3).reg_covariance(1e-4).fit(&dataset);
    rows(found.ok()?.means())
}

fn dbscan(points: &[&Vec<f64>]) -> Option<Normal> {
    let labels = Dbscan::params(NEIGHBOURS).tolerance(tolerance(points)?).transform(&table(points)?).ok()?;
    let clusters = labels.iter().flatten().max()? + 1;
    let dense: Vec<Vec<f64>> =
        points.iter().zip(&labels).filter(|(_, label)| label.is_some()).map(|(point, _)| (*point).clone()).collect();
    let references = spread_out(&dense, MOST_REFERENCES).into_iter().cloned().collect();
    Some(Normal { references, clusters })
}

/// How far the last of its nearest neighbours is from a segment, for all but the loneliest segments.
fn tolerance(points: &[&Vec<f64>]) -> Option<f64> {
    let sample = points.iter().step_by(points.len().div_ceil(MOST_JUDGED).max(1));
    let reach = |point: &&Vec<f64>| {
        let mut distances: Vec<f64> = points.iter().map(|other| distance(point, other)).collect();
        distances.sort_by(f64::total_cmp);
        distances.get(NEIGHBOURS).copied()
    };
    let mut reaches: Vec<f64> = sample.filter_map(reach).collect();
    reaches.sort_by(f64::total_cmp);
    reaches.get(super::share_of(reaches.len().saturating_sub(1), DENSE)).map(|reach| reach.max(1e-9))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three clouds around known centres, of points whose order has nothing to do with their cloud.
    fn clouds() -> Vec<Vec<f64>> {
        let centres = [[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]];
        let around = |n: usize| [(real(n * 37 % 101) / 101.0 - 0.5) * 0.8, (real(n * 53 % 97) / 97.0 - 0.5) * 0.8];
        (0..300).map(|n| centres[n % 3].iter().zip(around(n)).map(|(centre, off)| centre + off).collect()).collect()
    }

    #[test]
    fn each_kind_finds_three_clouds_and_what_lies_between_them() {
        for clustering in Clustering::ALL {
            let normal = Normal::learn(&clouds(), clustering, None).unwrap();
            assert_eq!(normal.clusters, 3, "{}", clustering.as_str());
            assert!(normal.distance(&[4.1, 0.1]) < 0.3, "{}", clustering.as_str());
            assert!(normal.distance(&[2.0, 2.0]) > 2.0, "{}", clustering.as_str());
            assert_eq!(Some(normal), Normal::learn(&clouds(), clustering, None), "the same past, the same clusters");
        }
    }

    #[test]
    fn so_many_clusters_as_somebody_wants() {
        for clusters in [1, 2, 5] {
            let normal = Normal::learn(&clouds(), Clustering::KMeans, Some(clusters)).unwrap();
            assert_eq!(normal.clusters, clusters);
        }
    }

    #[test]
    fn one_cloud_is_one_cluster_around_its_mean() {
        let points: Vec<Vec<f64>> = clouds().into_iter().step_by(3).collect();
        let normal = Normal::learn(&points, Clustering::KMeans, None).unwrap();
        assert!(normal.distance(&[0.0, 0.0]) < 0.4 && (normal.distance(&[3.0, 0.0]) - 3.0).abs() < 0.4, "{normal:?}");
    }

    #[test]
    fn a_silhouette_is_one_for_far_clusters_and_below_zero_for_wrong_ones() {
        let points: Vec<Vec<f64>> = [0.0, 0.1, 100.0, 100.1].map(|x| vec![x]).to_vec();
        let points: Vec<&Vec<f64>> = points.iter().collect();
        assert!(silhouette(&points, &[0, 0, 1, 1], 2) > 0.99);
        assert!(silhouette(&points, &[0, 1, 0, 1], 2) < 0.0);
    }

    #[test]
    fn equal_segments_are_one_cluster_without_extent() {
        for clustering in Clustering::ALL {
            let normal = Normal::learn(&vec![vec![1.0, 2.0]; 50], clustering, None).unwrap();
            assert!(normal.distance(&[1.0, 2.0]) < 1e-9 && (normal.distance(&[1.0, 5.0]) - 3.0).abs() < 1e-9);
        }
        assert_eq!(Normal::learn(&[], Clustering::KMeans, None), None);
    }
}
