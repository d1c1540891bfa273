//! How maps on accelerators take part in candle's tape.
//!
//! candle's own tape copies and adds a tensor for every use of every map, which on a GPU costs as much as the layers do. So
//! maps have a tape of their own, whose nodes run in the reverse order of their making. candle's tape knows only where maps
//! become tensors ([`exit`]) and where tensors become maps ([`Weight`], [`entry`]): between these lies a *reach*, a tensor of
//! one number, which candle visits after all exits and before all entries behind it.
//!
//! Gradients of variables do not go through candle's tape either: [`collect`] gathers them.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::backend::BackendStorage;
use candle_core::backprop::GradStore;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Device, Layout, Result, Shape, Storage, Tensor, TensorId, Var, bail,
};

use super::kernel::dense;
use crate::Precision;
use crate::kernels::MapShape;

/// A map's numbers, and where they came from if a gradient may flow there.
pub struct Map {
    /// `[B, H, W, C]`, dense.
    pub values: Tensor,
    /// How exact its numbers are.
    pub precision: Precision,
    gradient: Mutex<Option<Tensor>>,
    origin: Option<Origin>,
}

struct Origin {
    sequence: u64,
    node: Box<dyn Node>,
    reach: Tensor,
}

/// An operation whose output is a map.
pub trait Node: Send + Sync {
    /// Passes the gradient of the output, `[B, H, W, C]`, on to the inputs.
    ///
    /// # Errors
    /// When the device fails.
    fn backward(&self, gradient: &Tensor) -> Result<()>;
}

impl Map {
    /// A map through which no gradient flows.
    pub fn constant(values: Tensor, precision: Precision) -> Arc<Self> {
        Arc::new(Self { values, precision, gradient: Mutex::new(None), origin: None })
    }

    /// Its shape.
    pub fn shape(&self) -> MapShape {
        let dims = self.values.dims();
        MapShape { batch: dims[0], height: dims[1], width: dims[2], channels: dims[3] }
    }

    /// Whether a gradient may flow through it.
    pub fn tracked(&self) -> bool {
        self.origin.is_some()
    }

    /// Adds a part of its gradient, if it is tracked: `part` gets what there is already, and returns the sum.
    ///
    /// # Errors
    /// When `part` fails.
    pub fn deposit(self: &Arc<Self>, part: impl FnOnce(Option<&Tensor>) -> Result<Tensor>) -> Result<()> {
        let Some(origin) = &self.origin else { return Ok(()) };
        let mut gradient = self.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        *gradient = Some(part(gradient.as_ref())?);
        BACKWARD.with_borrow_mut(|backward| backward.due.insert(origin.sequence, Arc::clone(self)));
        Ok(())
    }
}

/// The state of a backward pass in this thread.
#[derive(Default)]
struct Backward {
    /// Maps with gradients that their nodes have not seen.
    due: BTreeMap<u64, Arc<Map>>,
    /// The gradients of variables, where somebody gathers them.
    variables: Option<HashMap<TensorId, Tensor>>,
}

thread_local! {
    static BACKWARD: RefCell<Backward> = RefCell::default();
}

/// Runs the nodes of all maps with gradients that were made at `first` or later, the latest first.
fn run(first: u64) -> Result<()> {
    loop {
        let next = BACKWARD.with_borrow_mut(|backward| {
            let due = backward.due.last_entry().filter(|entry| *entry.key() >= first);
            due.map(std::collections::btree_map::OccupiedEntry::remove)
        });
        let Some(map) = next else { return Ok(()) };
        let gradient = map.gradient.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(origin), Some(gradient)) = (&map.origin, gradient) {
            origin.node.backward(&gradient).inspect_err(|_| forget())?;
        }
    }
}

/// Drops what a pass that failed has left.
fn forget() {
    let due = BACKWARD.with_borrow_mut(|backward| std::mem::take(&mut backward.due));
    for map in due.into_values() {
        map.gradient.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The gradients of `loss`, with those of the variables of maps beside candle's own.
///
/// # Errors
/// When the device fails.
pub fn collect(loss: &Tensor) -> Result<(GradStore, HashMap<TensorId, Tensor>)> {
    forget();
    BACKWARD.with_borrow_mut(|backward| backward.variables = Some(HashMap::new()));
    let store = loss.backward();
    let variables = BACKWARD.with_borrow_mut(|backward| backward.variables.take());
    let store = store.inspect_err(|_| forget())?;
    Ok((store, variables.unwrap_or_default()))
}

fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A tensor that an operation on maps takes, and where its gradient goes.
#[derive(Clone)]
pub struct Weight {
    place: WeightPlace,
    reach: Option<Tensor>,
}

#[derive(Clone)]
enum WeightPlace {
    Constant,
    Variable(TensorId),
    /// Made by candle of something tracked.
    Derived(Arc<Mutex<Option<Tensor>>>),
}

impl Weight {
    /// Of this tensor.
    ///
    /// # Errors
    /// When the device fails.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        if !tensor.track_op() {
            return Ok(Self { place: WeightPlace::Constant, reach: None });
        }
        if tensor.is_variable() {
            return Ok(Self { place: WeightPlace::Variable(tensor.id()), reach: None });
        }
        let received = Arc::default();
        let reach = entered(tensor, &received, next())?;
        Ok(Self { place: WeightPlace::Derived(received), reach: Some(reach) })
    }

    /// Whether its gradient is wanted.
    pub fn tracked(&self) -> bool {
        !matches!(self.place, WeightPlace::Constant)
    }

    /// Adds a part of its gradient, if it is wanted.
    ///
    /// # Errors
    /// When the device fails, or a variable's gradient is asked for in another way than by [`crate::Gradients::of`].
    pub fn deposit(&self, gradient: impl FnOnce() -> Result<Tensor>) -> Result<()> {
        match &self.place {
            WeightPlace::Constant => Ok(()),
            WeightPlace::Derived(received) => {
                add(&mut received.lock().unwrap_or_else(PoisonError::into_inner), gradient()?)
            }
            WeightPlace::Variable(id) => {
                let gradient = gradient()?;
                BACKWARD.with_borrow_mut(|backward| match &mut backward.variables {
                    Some(variables) => {
                        let mut sum = variables.remove(id);
                        add(&mut sum, gradient)?;
                        variables.extend(sum.map(|sum| (*id, sum)));
                        Ok(())
                    }
                    None => bail!(
                        "the gradient of a weight on an accelerator is asked for by `Gradients::of`, not by `backward`; where \
                         only the gradient of images is wanted, run the network by `Pass::evaluate` or `Pass::probe`"
                    ),
                })
            }
        }
    }
}

fn add(sum: &mut Option<Tensor>, part: Tensor) -> Result<()> {
    *sum = Some(match sum.take() {
        Some(sum) => (sum + part)?,
        None => part,
    });
    Ok(())
}

/// Records an operation of maps and weights, of which `node` passes gradients on.
///
/// # Errors
/// When the device fails.
pub fn record<N: Node + 'static>(
    values: Tensor,
    precision: Precision,
    inputs: &[&Arc<Map>],
    weights: &[Weight],
    node: impl FnOnce() -> N,
) -> Result<Arc<Map>> {
    let reaches = inputs.iter().filter_map(|map| Some(&map.origin.as_ref()?.reach));
    let mut reach: Option<Tensor> = None;
    for other in reaches.chain(weights.iter().filter_map(|weight| weight.reach.as_ref())) {
        reach = Some(match reach {
            None => other.clone(),
            Some(reach) if reach.id() == other.id() => reach,
            Some(reach) => reach.apply_op2(other, Join)?,
        });
    }
    if reach.is_none() && weights.iter().any(Weight::tracked) {
        let root = Var::zeros((), DType::F32, values.device())?;
        reach = Some(entered(&root, &Arc::default(), 0)?);
    }
    let origin = reach.map(|reach| Origin { sequence: next(), node: Box::new(node()), reach });
    Ok(Arc::new(Map { values, precision, gradient: Mutex::new(None), origin }))
}

/// A map made of a tensor, whose numbers are in `values`; `back` makes a gradient of the tensor out of one of the map.
///
/// # Errors
/// When the device fails.
pub fn entry(
    tensor: &Tensor,
    values: Tensor,
    precision: Precision,
    back: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Arc<Map>> {
    if !tensor.track_op() {
        return Ok(Map::constant(values, precision));
    }
    let (received, sequence) = (Arc::default(), next());
    let reach = entered(tensor, &received, sequence)?;
    let origin = Origin { sequence, node: Box::new(Entry { received, back }), reach };
    Ok(Arc::new(Map { values, precision, gradient: Mutex::new(None), origin: Some(origin) }))
}

struct Entry<F> {
    received: Arc<Mutex<Option<Tensor>>>,
    back: F,
}

impl<F: Fn(&Tensor) -> Result<Tensor> + Send + Sync> Node for Entry<F> {
    fn backward(&self, gradient: &Tensor) -> Result<()> {
        add(&mut self.received.lock().unwrap_or_else(PoisonError::into_inner), (self.back)(gradient)?)
    }
}

/// A tensor made of a map: `values`, whose gradient `back` gives to the map.
///
/// # Errors
/// When the device fails.
pub fn exit(
    map: &Arc<Map>,
    values: Tensor,
    back: impl Fn(&Tensor) -> Result<()> + Send + Sync + 'static,
) -> Result<Tensor> {
    match &map.origin {
        None => Ok(values),
        Some(origin) => function(&origin.reach, values, move |gradient| {
            back(gradient)?;
            reach(gradient.device())
        }),
    }
}

/// `values`, which are a function of a tensor, of whose gradient `back` makes that of the tensor.
///
/// # Errors
/// When the device fails.
pub fn function(
    of: &Tensor,
    values: Tensor,
    back: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    of.apply_op1(Function { values, back })
}

/// The reach of maps made of a tensor, which runs what was made since `sequence` once all exits are done, and gives the tensor
/// the gradient that was received.
fn entered(tensor: &Tensor, received: &Arc<Mutex<Option<Tensor>>>, sequence: u64) -> Result<Tensor> {
    let (received, shape, dtype) = (Arc::clone(received), tensor.shape().clone(), tensor.dtype());
    function(tensor, reach(tensor.device())?, move |gradient| {
        run(sequence)?;
        let received = received.lock().unwrap_or_else(PoisonError::into_inner).take();
        received.map_or_else(|| Tensor::zeros(&shape, dtype, gradient.device()), Ok)
    })
}

/// A reach of its own.
fn reach(device: &Device) -> Result<Tensor> {
    Tensor::zeros((), DType::F32, device)
}

/// A result that is there already, and what makes a gradient out of its own.
struct Function<F> {
    values: Tensor,
    back: F,
}

impl<F: Fn(&Tensor) -> Result<Tensor> + Send + Sync> CustomOp1 for Function<F> {
    fn name(&self) -> &'static str {
        "maps and tensors"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        // What is copied is all of it, not the part that a tensor shows.
        let values = dense(&self.values)?;
        let (storage, layout) = values.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.try_clone(layout)?, values.shape().clone())),
            _ => bail!("{} on two devices", self.name()),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _: &candle_core::CudaStorage, _: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        let values = dense(&self.values)?;
        let (storage, layout) = values.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, values.shape().clone())),
            _ => bail!("{} on two devices", self.name()),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        (self.back)(&dense(gradient)?).map(Some)
    }
}

/// One reach for two.
struct Join;

impl CustomOp2 for Join {
    fn name(&self) -> &'static str {
        "maps of two origins"
    }

    fn cpu_fwd(&self, a: &CpuStorage, layout: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((a.try_clone(layout)?, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        a: &candle_core::CudaStorage,
        layout: &Layout,
        _: &candle_core::CudaStorage,
        _: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        Ok((a.try_clone(layout)?, layout.shape().clone()))
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, _: &Tensor, _: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let passed = |of: &Tensor| of.track_op().then(|| reach(of.device())).transpose();
        Ok((passed(a)?, passed(b)?))
    }
}
