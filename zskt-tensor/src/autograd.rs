//! Reverse-mode differentiation of feature maps, the same for every backend.
//!
//! candle's tape copies and adds a tensor for every use of every map, which costs as much as the layers do. So operations
//! on maps have a tape of their own: a backward pass runs its [`Node`]s in the reverse order of their making, and each leaves
//! gradients where its backend keeps them. candle's tape knows only where maps become tensors ([`to_tensor`]) and where tensors
//! become maps ([`from_tensor`], [`TensorInput`]): between these lies an *anchor*, a tensor of one number, which candle visits
//! after all that the maps became and before all that they were made of.
//!
//! Gradients of variables do not go through candle's tape either: [`backward`] gathers them. So what was made of variables and
//! constants alone needs no anchor to be visited: its nodes run once candle is done, and where candle's tape ends there is a
//! variable that gets no gradient, a *root*.
//!
//! A tensor that was made on this tape gets its gradient without candle from those that read it by [`function_of`], such as a classifier's
//! head and the losses behind it.
//!
//! Each gradient that candle adds to another is a kernel on a GPU, and zeros that it makes first are one more. Anchors get one only for
//! candle to visit them.

use std::cell::RefCell;
use std::collections::btree_map::OccupiedEntry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use candle_core::backend::BackendStorage;
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp2, DType, Device, Layout, Result, Shape, Tensor, TensorId, Var, bail};

use crate::candle_function::{Function, Values};
use crate::dense::dense;

/// An operation whose output is a map.
pub trait Node: Send + Sync {
    /// Takes the gradient that the output has gathered, and passes it on to the inputs.
    ///
    /// # Errors
    /// When there is none, or the device fails.
    fn backward(&self) -> Result<()>;

    /// Drops the gradient that the output has gathered: a backward pass has failed.
    fn reset(&self);
}

/// A map's place on the tape: a map without one is a constant.
pub struct TapeEntry {
    sequence: u64,
    node: Box<dyn Node>,
    anchor: Anchor,
}

/// Where candle's tape meets that of maps.
#[derive(Clone)]
struct Anchor {
    /// One number, whose operation runs nodes as candle goes back through it; or a root, behind which there is nothing to run.
    tensor: Tensor,
    /// Whether candle is sure to go back to it: it may find no variable behind a tensor that is tracked.
    rooted: bool,
    /// It and the anchors that it was joined of, which candle visits after it.
    visited: Arc<[TensorId]>,
}

impl TapeEntry {
    /// Says that the map has got a part of its gradient, so that its node is to run.
    pub fn schedule(self: &Arc<Self>) {
        BACKWARD.with_borrow_mut(|backward| backward.scheduled.insert(self.sequence, Arc::clone(self)));
    }
}

/// The state of a backward pass in this thread.
#[derive(Default)]
struct Backward {
    /// Maps with gradients that their nodes have not seen.
    scheduled: BTreeMap<u64, Arc<TapeEntry>>,
    /// Gradients of tensors that candle may not have asked for yet.
    sums: Vec<GradientSum>,
    /// Variables and their gradients, where somebody gathers them.
    variables: Option<HashMap<TensorId, [Tensor; 2]>>,
    /// Anchors that candle is going to visit, for they have a gradient.
    reached: HashSet<TensorId>,
    /// The gradient of anchors.
    zero: Option<Tensor>,
    /// For the numbers of gradients that were announced by [`TensorInput::accumulate_later`].
    later: Option<Later>,
}

/// What becomes of gradients whose numbers are not computed one by one.
#[derive(Clone, Copy)]
pub struct Later {
    /// Computes all that are pending.
    pub complete: fn() -> Result<()>,
    /// Drops them: a backward pass has failed.
    pub discard: fn(),
}

impl Backward {
    /// Drops what a pass that failed has left in maps and sums.
    fn reset(self) {
        self.scheduled.into_values().for_each(|entry| entry.node.reset());
        self.sums.iter().for_each(|sum| drop(sum.take()));
    }
}

thread_local! {
    static BACKWARD: RefCell<Backward> = RefCell::default();
}

/// Runs the nodes of all maps with gradients that were made at `first` or later, the latest first.
fn run(first: u64) -> Result<()> {
    loop {
        let next = BACKWARD.with_borrow_mut(|backward| {
            let latest = backward.scheduled.last_entry().filter(|entry| *entry.key() >= first);
            latest.map(OccupiedEntry::remove)
        });
        let Some(entry) = next else { return Ok(()) };
        entry.node.backward()?;
    }
}

/// The state of the pass that another interrupts: a thread that waits for its part of a kernel may be given work that asks for
/// gradients too. It is back when this is dropped, and what is left of the pass in between is gone.
struct Interrupted(Option<Backward>);

impl Interrupted {
    fn begin() -> Self {
        let pass = Backward { variables: Some(HashMap::new()), ..Backward::default() };
        let before = BACKWARD.replace(pass);
        if before.variables.is_some() {
            return Self(Some(before));
        }
        // Nobody goes on with a pass of candle's own that failed.
        before.reset();
        Self(None)
    }
}

impl Drop for Interrupted {
    fn drop(&mut self) {
        let before = self.0.take();
        let is_outermost = before.is_none();
        let pass = BACKWARD.replace(before.unwrap_or_default());
        // Of passes within one another, the outermost completes what is pending of all.
        match pass.later {
            Some(later) if is_outermost => (later.discard)(),
            Some(later) => BACKWARD.with_borrow_mut(|before| before.later = Some(later)),
            None => {}
        }
        pass.reset();
    }
}

/// The gradients of a scalar with respect to all variables that it was made of. candle's own `backward` fails where weights of
/// convolutions, batch norms or, on a GPU, linear layers behind maps are among them.
///
/// # Errors
/// When the device fails.
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let _interrupted = Interrupted::begin();
    let mut store = loss.backward()?;
    run(0)?;
    let (variables, later) = BACKWARD.with_borrow_mut(|backward| (backward.variables.take(), backward.later));
    later.map_or(Ok(()), |later| (later.complete)())?;
    for [variable, gradient] in variables.unwrap_or_default().into_values() {
        let gradient = match store.remove(&variable) {
            Some(other) => (other + gradient)?,
            None => gradient,
        };
        store.insert(&variable, gradient);
    }
    Ok(store)
}

fn next_sequence() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The gradient of a tensor, as it is gathered.
#[derive(Clone, Default)]
struct GradientSum(Arc<Mutex<Option<Tensor>>>);

impl GradientSum {
    fn add(&self, part: Tensor) -> Result<()> {
        BACKWARD.with_borrow_mut(|backward| backward.sums.push(self.clone()));
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *sum = Some(match sum.take() {
            Some(sum) => (sum + part)?,
            None => part,
        });
        Ok(())
    }

    fn take(&self) -> Option<Tensor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

const NOT_GATHERED: &str = "the gradient of a weight is computed by `Gradients::of` or `zskt_tensor::backward`, not by candle's \
    `backward`; where only the gradient of images is wanted, run the network by `ForwardMode::eval` or \
    `ForwardMode::train_frozen`";

/// A tensor that an operation on maps takes beside them, such as a weight, and where its gradient goes.
#[derive(Clone)]
pub struct TensorInput(Destination);

#[derive(Clone)]
enum Destination {
    /// Nobody wants it.
    Constant,
    Variable(Tensor),
    /// What was made on this tape.
    Made(Arc<Made>),
    /// What candle has made the tensor of.
    Derived(GradientSum, Anchor),
}

impl TensorInput {
    /// That of this tensor.
    ///
    /// # Errors
    /// When the device fails.
    pub fn of(tensor: &Tensor) -> Result<Self> {
        Ok(Self(if !tensor.track_op() {
            Destination::Constant
        } else if tensor.is_variable() {
            Destination::Variable(tensor.clone())
        } else {
            let sum = GradientSum::default();
            let anchor = anchored(tensor, &sum, next_sequence())?;
            Destination::Derived(sum, anchor)
        }))
    }

    /// That of a tensor whose gradient need not go by candle's tape.
    fn on_tape(tensor: &Tensor) -> Option<Self> {
        Some(Self(if !tensor.track_op() {
            Destination::Constant
        } else if tensor.is_variable() {
            Destination::Variable(tensor.clone())
        } else {
            Destination::Made(Made::known(tensor)?)
        }))
    }

    /// Whether its gradient is wanted.
    pub fn is_tracked(&self) -> bool {
        !matches!(self.0, Destination::Constant)
    }

    /// Adds a part of its gradient, if it is wanted.
    ///
    /// # Errors
    /// When the device fails, or a variable's gradient is asked for in another way than by [`backward`].
    pub fn accumulate(&self, gradient: impl FnOnce() -> Result<Tensor>) -> Result<()> {
        match &self.0 {
            Destination::Constant => Ok(()),
            Destination::Made(made) => made.accumulate(gradient()?),
            Destination::Derived(sum, _) => sum.add(gradient()?),
            Destination::Variable(variable) => {
                let gradient = gradient()?;
                // Numbers that are pending may be those that it is added to.
                let later = BACKWARD.with_borrow(|backward| {
                    let gathered = backward.variables.as_ref();
                    backward.later.filter(|_| gathered.is_some_and(|variables| variables.contains_key(&variable.id())))
                });
                later.map_or(Ok(()), |later| (later.complete)())?;
                BACKWARD.with_borrow_mut(|backward| match &mut backward.variables {
                    Some(variables) => {
                        let gradient = match variables.remove(&variable.id()) {
                            Some([_, earlier]) => (earlier + gradient)?,
                            None => gradient,
                        };
                        variables.insert(variable.id(), [variable.clone(), gradient]);
                        Ok(())
                    }
                    None => bail!("{NOT_GATHERED}"),
                })
            }
        }
    }

    /// Whether it is made of other tensors: candle asks for the gradient of what is made as soon as the
    /// operation's own node has run.
    pub fn is_made(&self) -> bool {
        matches!(self.0, Destination::Derived(..) | Destination::Made(_))
    }

    /// Adds a part of its gradient, which is wanted and whose numbers `later` computes: before anybody reads them, and at the latest
    /// when the pass ends.
    ///
    /// # Errors
    /// As [`accumulate`](Self::accumulate).
    pub fn accumulate_later(&self, gradient: Tensor, later: Later) -> Result<()> {
        if self.is_made() {
            (later.complete)()?;
        } else {
            BACKWARD.with_borrow_mut(|backward| backward.later = Some(later));
        }
        self.accumulate(|| Ok(gradient))
    }
}

/// Records an operation on maps and tensors: the place on the tape of its output, if a gradient may flow there.
///
/// # Errors
/// When the device fails.
pub fn record<'a, N: Node + 'static>(
    device: &Device,
    maps: impl IntoIterator<Item = Option<&'a Arc<TapeEntry>>>,
    tensors: &[&TensorInput],
    node: impl FnOnce() -> N,
) -> Result<Option<Arc<TapeEntry>>> {
    let anchor = anchor_of(device, maps, tensors)?;
    Ok(anchor.map(|anchor| Arc::new(TapeEntry { sequence: next_sequence(), node: Box::new(node()), anchor })))
}

/// The anchor of what is made of maps and tensors, if a gradient may flow to any of them.
fn anchor_of<'a>(
    device: &Device,
    maps: impl IntoIterator<Item = Option<&'a Arc<TapeEntry>>>,
    tensors: &[&TensorInput],
) -> Result<Option<Anchor>> {
    let of_maps = maps.into_iter().flatten().map(|entry| &entry.anchor);
    let of_tensors = tensors.iter().filter_map(|tensor| match &tensor.0 {
        Destination::Derived(_, anchor) => Some(anchor),
        Destination::Made(made) => Some(&made.entry.anchor),
        _ => None,
    });
    let mut anchor: Option<Anchor> = None;
    for other in of_maps.chain(of_tensors) {
        anchor = Some(match anchor {
            None => other.clone(),
            Some(anchor) => anchor.join(other)?,
        });
    }
    let variable = tensors.iter().any(|tensor| matches!(tensor.0, Destination::Variable(_)));
    if variable && !anchor.as_ref().is_some_and(|anchor| anchor.rooted) {
        let root = Anchor { rooted: true, ..Anchor::of(Var::zeros((), DType::F32, device)?.into_inner()) };
        anchor = Some(match anchor {
            None => root,
            Some(anchor) => anchor.join(&root)?,
        });
    }
    Ok(anchor)
}

impl Anchor {
    fn of(tensor: Tensor) -> Self {
        Self { rooted: false, visited: [tensor.id()].into(), tensor }
    }

    /// One for two.
    fn join(self, other: &Self) -> Result<Self> {
        if self.visited.contains(&other.tensor.id()) {
            return Ok(self);
        }
        if other.visited.contains(&self.tensor.id()) {
            return Ok(other.clone());
        }
        let tensor = self.tensor.apply_op2(&other.tensor, Join)?;
        let others = other.visited.iter().filter(|id| !self.visited.contains(id));
        let visited = std::iter::once(tensor.id()).chain(self.visited.iter().copied()).chain(others.copied()).collect();
        Ok(Self { tensor, rooted: self.rooted || other.rooted, visited })
    }
}

/// Records the making of a map from `tensor`, if that is tracked; `gradient` takes the gradient that the map has gathered and
/// makes the tensor's of it, `reset` drops it.
///
/// # Errors
/// When the device fails.
pub fn from_tensor(
    tensor: &Tensor,
    gradient: impl Fn() -> Result<Tensor> + Send + Sync + 'static,
    reset: impl Fn() + Send + Sync + 'static,
) -> Result<Option<Arc<TapeEntry>>> {
    if !tensor.track_op() {
        return Ok(None);
    }
    let (sum, sequence) = (GradientSum::default(), next_sequence());
    let anchor = anchored(tensor, &sum, sequence)?;
    Ok(Some(Arc::new(TapeEntry { sequence, node: Box::new(FromTensor { sum, gradient, reset }), anchor })))
}

struct FromTensor<G, R> {
    sum: GradientSum,
    gradient: G,
    reset: R,
}

impl<G: Fn() -> Result<Tensor> + Send + Sync, R: Fn() + Send + Sync> Node for FromTensor<G, R> {
    fn backward(&self) -> Result<()> {
        self.sum.add((self.gradient)()?)
    }

    fn reset(&self) {
        (self.reset)();
    }
}

/// A tensor made of maps and of tensors: `values`, whose gradient `backward` gives to these.
///
/// # Errors
/// When the device fails.
pub fn to_tensor<'a>(
    maps: impl IntoIterator<Item = &'a Arc<TapeEntry>>,
    tensors: &[&TensorInput],
    values: impl Into<Values>,
    backward: impl Fn(&Tensor) -> Result<()> + Send + Sync + 'static,
) -> Result<Tensor> {
    let values = values.into();
    match anchor_of(values.device(), maps.into_iter().map(Some), tensors)? {
        None => values.into_tensor(),
        Some(anchor) => {
            let (backward, sum) = (Arc::new(backward), GradientSum::default());
            let node = Box::new(ToTensor { sum: sum.clone(), backward: Arc::clone(&backward) });
            let entry = Arc::new(TapeEntry { sequence: next_sequence(), node, anchor: anchor.clone() });
            let made = Arc::new(Made { entry, sum, is_read: AtomicBool::new(false) });
            let (known, before) = (Arc::clone(&made), anchor.tensor.clone());
            let tensor = anchor.tensor.apply_op1(Function::new(values, move |gradient: &Tensor| {
                if known.is_read.load(Ordering::Relaxed) {
                    known.accumulate(gradient.clone())?;
                } else {
                    // At once, for maps to gather their gradients in candle's order: the order of a sum's terms is in its bits.
                    backward(gradient)?;
                }
                reach(&before)
            }))?;
            made.make_known(&tensor);
            Ok(tensor)
        }
    }
}

/// A tensor's place on the tape.
struct Made {
    entry: Arc<TapeEntry>,
    sum: GradientSum,
    /// Whether anybody but candle gives it a gradient.
    is_read: AtomicBool,
}

/// By tensors, as long as they are there.
static MADE: LazyLock<Mutex<HashMap<TensorId, Weak<Made>>>> = LazyLock::new(Mutex::default);

impl Made {
    fn make_known(self: &Arc<Self>, tensor: &Tensor) {
        let mut all = MADE.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, made| made.strong_count() > 0);
        all.insert(tensor.id(), Arc::downgrade(self));
    }

    fn known(tensor: &Tensor) -> Option<Arc<Self>> {
        MADE.lock().unwrap_or_else(PoisonError::into_inner).get(&tensor.id())?.upgrade()
    }

    fn accumulate(&self, gradient: Tensor) -> Result<()> {
        self.sum.add(gradient)?;
        self.entry.schedule();
        Ok(())
    }
}

struct ToTensor<B> {
    sum: GradientSum,
    backward: Arc<B>,
}

impl<B: Fn(&Tensor) -> Result<()> + Send + Sync> Node for ToTensor<B> {
    fn backward(&self) -> Result<()> {
        match self.sum.take() {
            Some(gradient) => (self.backward)(&dense(&gradient)?),
            None => bail!("a tensor has got no gradient"),
        }
    }

    fn reset(&self) {
        drop(self.sum.take());
    }
}

/// `values`, which are a function of a tensor: `backward` makes the tensor's gradient of theirs.
///
/// # Errors
/// When the device fails.
pub fn function(
    of: &Tensor,
    values: impl Into<Values>,
    backward: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    of.apply_op1(Function::new(values.into(), move |gradient: &Tensor| backward(gradient).map(Some)))
}

/// `values`, which are a function of one or two tensors: `backward` makes the gradients of those that are not constants of theirs. Where it
/// can be, the function is on this tape.
///
/// # Errors
/// When the device fails.
pub fn function_of<const COUNT: usize>(
    of: [&Tensor; COUNT],
    values: impl Into<Values>,
    backward: impl Fn(&Tensor) -> Result<[Option<Tensor>; COUNT]> + Send + Sync + 'static,
) -> Result<Tensor> {
    if let Some(inputs) = on_tape(of) {
        return function_on_tape(inputs, values, backward);
    }
    let values = values.into();
    match of[..] {
        [of] => of.apply_op1(Function::new(values, move |gradient: &Tensor| {
            Ok(backward(gradient)?.into_iter().next().flatten())
        })),
        [a, b] => a.apply_op2(
            b,
            Function::new(values, move |gradient: &Tensor| {
                let mut gradients = backward(gradient)?.into_iter();
                Ok([gradients.next().flatten(), gradients.next().flatten()])
            }),
        ),
        _ => bail!("a function of {COUNT} tensors on candle's tape"),
    }
}

/// The inputs of an operation on this tape: nothing where one of them is on candle's only, or none is on this.
pub fn on_tape<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Option<Vec<TensorInput>> {
    let inputs = tensors.into_iter().map(TensorInput::on_tape).collect::<Option<Vec<_>>>()?;
    inputs.iter().any(|input| matches!(input.0, Destination::Made(_))).then_some(inputs)
}

/// `values`, which are a function of these inputs.
///
/// # Errors
/// When the device fails.
pub fn function_on_tape<G: IntoIterator<Item = Option<Tensor>>>(
    inputs: Vec<TensorInput>,
    values: impl Into<Values>,
    backward: impl Fn(&Tensor) -> Result<G> + Send + Sync + 'static,
) -> Result<Tensor> {
    for input in &inputs {
        if let Destination::Made(made) = &input.0 {
            made.is_read.store(true, Ordering::Relaxed);
        }
    }
    to_tensor([], &inputs.clone().iter().collect::<Vec<_>>(), values, move |gradient| {
        for (input, gradient) in inputs.iter().zip(backward(gradient)?) {
            gradient.map_or(Ok(()), |gradient| input.accumulate(|| Ok(gradient)))?;
        }
        Ok(())
    })
}

/// The anchor of maps made of a tensor, which runs what was made since `sequence` once all that the maps became has got its
/// gradient, and gives the tensor the gradient that was gathered.
fn anchored(tensor: &Tensor, sum: &GradientSum, sequence: u64) -> Result<Anchor> {
    let (sum, shape, dtype) = (sum.clone(), tensor.shape().clone(), tensor.dtype());
    let anchor = function(tensor, one_number(tensor.device())?, move |gradient| {
        run(sequence)?;
        sum.take().map_or_else(|| Tensor::zeros(&shape, dtype, gradient.device()), Ok)
    })?;
    Ok(Anchor::of(anchor))
}

/// The gradient by which candle visits an anchor: one is enough.
fn reach(anchor: &Tensor) -> Result<Option<Tensor>> {
    if !anchor.track_op() {
        return Ok(None);
    }
    BACKWARD.with_borrow_mut(|backward| {
        let gathers = backward.variables.is_some();
        if anchor.is_variable() {
            return if gathers { Ok(None) } else { bail!("{NOT_GATHERED}") };
        }
        // Who passed this on in a pass of candle's own is not known: nobody tells when such a pass begins.
        if gathers && !backward.reached.insert(anchor.id()) {
            return Ok(None);
        }
        let there = backward.zero.take().filter(|zero| zero.device().same_device(anchor.device()));
        let zero = there.map_or_else(|| one_number(anchor.device()), Ok)?;
        backward.zero = gathers.then(|| zero.clone());
        Ok(Some(zero))
    })
}

/// The gradient of a variable, as an operation of candle's returns it: none where it is gathered.
///
/// # Errors
/// When the device fails.
pub fn gathered(tensor: &Tensor, gradient: impl FnOnce() -> Result<Tensor>) -> Result<Option<Tensor>> {
    if !tensor.track_op() {
        return Ok(None);
    }
    let gathers = BACKWARD.with_borrow(|backward| backward.variables.is_some());
    if tensor.is_variable() && gathers {
        TensorInput(Destination::Variable(tensor.clone())).accumulate(gradient)?;
        return Ok(None);
    }
    gradient().map(Some)
}

fn one_number(device: &Device) -> Result<Tensor> {
    Tensor::zeros((), DType::F32, device)
}

/// One anchor for two.
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
        Ok((reach(a)?, reach(b)?))
    }
}
