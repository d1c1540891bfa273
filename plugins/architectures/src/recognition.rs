//! How an architecture knows itself by the names and shapes of weights.

use torch_checkpoint::Renames;
use zskt_api::{Architecture, Builder, NamedShapes, Params, Recognized, WeightLayout};

/// An architecture, the usual size of its images, and what was assumed.
pub type Guess<A> = (A, usize, Vec<String>);

/// Names and shapes of a file, under the names of an architecture.
pub struct Names<'a>(&'a NamedShapes);

impl Names<'_> {
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The shape of a weight of N dimensions.
    pub fn shape<const N: usize>(&self, name: &str) -> Option<[usize; N]> {
        self.0.get(name)?.as_slice().try_into().ok()
    }

    /// How many weights there are under numbered names, from 0 on.
    pub fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|index| self.has(&name(*index))).count()
    }
}

/// The architecture that has exactly these weights. It is guessed from some of them, under its own names and then under those of each
/// layout (whose source `guess` is told), and taken if it has all the others, and no more.
pub fn recognize<A: Architecture + Params>(
    weights: &NamedShapes,
    layouts: Vec<WeightLayout>,
    guess: impl Fn(&Names<'_>, Option<&str>) -> Option<Guess<A>>,
) -> Option<Recognized> {
    let own = [(None, Vec::new())].into_iter();
    own.chain(layouts.into_iter().map(|layout| (Some(layout.source), layout.renames))).find_map(|(source, renames)| {
        let renames = Renames::new(renames.iter().map(|(from, to)| (from.as_str(), to.as_str()))).ok()?;
        let counts = |name: &str| name.ends_with("num_batches_tracked");
        let named = weights.iter().filter(|(name, _)| !counts(name));
        let named: NamedShapes = named.map(|(name, shape)| (renames.apply(name).into_owned(), shape.clone())).collect();
        let (architecture, image_size, assumptions) = guess(&Names(&named), source)?;
        architecture.check().ok()?;
        let mut shapes = Builder::shapes_of(|builder| architecture.build(builder)).ok()?;
        // Files older than these counters have none.
        shapes.retain(|name, _| !counts(name));
        // Where two names have become one, there are fewer.
        (shapes == named && named.len() == weights.keys().filter(|name| !counts(name)).count()).then(|| Recognized {
            ron: architecture.to_ron(),
            image_size,
            assumptions,
        })
    })
}
