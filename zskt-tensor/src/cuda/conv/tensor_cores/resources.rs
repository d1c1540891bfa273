//! What kernels take of a multiprocessor, by NVRTC: needs no GPU. `resources.txt` has it for the experiment's.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use rayon::prelude::*;

use super::kernel::{DEVICE, EpilogueKind, Kernel, OperandKind, RectifierKind, TEMPLATES, options};
use super::layer::Numbers;
use super::plan::{ConvolutionPlan, Direction, WeightPlan};
use super::tests::geometry;
use crate::cuda::nvrtc_library::Nvrtc;
use crate::shape::ConvGeometry;

/// What training WRN-16-1 with WRN-40-2 on CIFAR-10 launches, with the generator between them: by their layer and the map they read.
const LAYERS: [([usize; 5], usize); 20] = [
    ([3, 16, 3, 1, 1], 32),
    ([16, 16, 3, 1, 1], 32),
    ([16, 32, 3, 2, 1], 32),
    ([16, 32, 1, 2, 1], 32),
    ([32, 32, 3, 1, 1], 16),
    ([32, 64, 3, 2, 1], 16),
    ([32, 64, 1, 2, 1], 16),
    ([64, 64, 3, 1, 1], 8),
    ([16, 32, 3, 1, 1], 32),
    ([16, 32, 1, 1, 1], 32),
    ([32, 32, 3, 1, 1], 32),
    ([32, 64, 3, 2, 1], 32),
    ([32, 64, 1, 2, 1], 32),
    ([64, 64, 3, 1, 1], 16),
    ([64, 128, 3, 2, 1], 16),
    ([64, 128, 1, 2, 1], 16),
    ([128, 128, 3, 1, 1], 8),
    ([128, 128, 3, 1, 2], 8),
    ([128, 64, 3, 1, 2], 16),
    ([64, 3, 3, 1, 1], 32),
];

/// The kernels of a layer in training and in evaluation.
fn kernels(geometry: &ConvGeometry, numbers: Numbers) -> Vec<Kernel> {
    let [forward, data] = [Direction::Forward, Direction::Data]
        .map(|direction| ConvolutionPlan::of(direction, geometry, numbers).unwrap());
    let convolution = |plan, operand, epilogue| Kernel::Convolution { plan, operand, epilogue };
    let weight = |input, gradient| {
        let plan = WeightPlan::of(geometry, numbers, gradient == OperandKind::NormGradient).unwrap();
        Kernel::WeightGradient { plan, input, gradient }
    };
    let relu = RectifierKind::Relu;
    let input = if geometry.in_channels == 3 { OperandKind::Plain } else { OperandKind::Normalized(relu) };
    let mut kernels = vec![
        convolution(forward, input, EpilogueKind::Result { moments: true }),
        convolution(forward, input, EpilogueKind::Result { moments: false }),
        convolution(data, OperandKind::NormGradient, EpilogueKind::Gradient),
        convolution(data, OperandKind::Plain, EpilogueKind::Gradient),
        weight(input, OperandKind::Plain),
        weight(input, OperandKind::NormGradient),
    ];
    if input != OperandKind::Plain {
        kernels.extend([
            convolution(data, OperandKind::NormGradient, EpilogueKind::BatchNorm(relu)),
            convolution(data, OperandKind::Plain, EpilogueKind::FixedNorm(relu)),
        ]);
    }
    kernels
}

/// The kernels of these layers.
fn kernels_of(layers: &[([usize; 5], usize)], numbers: Numbers) -> Vec<Kernel> {
    layers.iter().flat_map(|(layer, side)| kernels(&geometry(*layer, [128, *side, *side]), numbers)).collect()
}

/// The kernels of the experiment.
fn experiment() -> Vec<Kernel> {
    let mut kernels = [Numbers::Bf16, Numbers::F32].map(|numbers| kernels_of(&LAYERS, numbers)).concat();
    kernels.extend([Kernel::AddUp, Kernel::FinishMoments, Kernel::FinishGradients]);
    kernels
}

/// In other networks.
const OTHERS: [([usize; 5], usize, Numbers); 2] =
    [([512, 512, 3, 1, 1], 4, Numbers::Bf16), ([256, 256, 3, 1, 1], 8, Numbers::F32)];

/// Blocks of 256 threads at once on a multiprocessor of compute capability 9.0: of 64 K registers, which warps get by eights a thread;
/// of 228 kB of shared memory, of which each block takes one more; and of 2048 threads.
fn resident(registers: usize, shared: usize) -> usize {
    let by_registers = (64 << 10) / (registers.next_multiple_of(8) * 256);
    let by_shared = (228 << 10) / (shared + 1024).next_multiple_of(128);
    by_registers.min(by_shared).min(2048 / 256)
}

/// What the compiler says of a kernel behind some words.
fn number_behind(log: &str, words: &str) -> usize {
    let behind = log.split_once(words).unwrap_or_else(|| panic!("{words} in {log}")).1.trim_start();
    behind.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

/// The version of PTX, for another compiler gives other numbers; by name, the registers of each kernel; and what is said of those whose
/// registers spill to memory.
fn compiled(nvrtc: &Nvrtc, capability: &str, kernels: &[Kernel]) -> (String, BTreeMap<String, usize>, String) {
    let entries = kernels.iter().map(Kernel::entry).collect::<String>();
    let options = [options(capability), vec!["--ptxas-options=-v".into()]].concat();
    let (ptx, log) = nvrtc.compile(&[DEVICE, TEMPLATES, &entries].concat(), &options);
    assert_eq!(ptx.matches(".entry zskt_conv_").count(), kernels.len());
    assert!(!log.contains("warning"), "{log}");
    let functions = || log.split("Compiling entry function '").skip(1);
    let registers =
        functions().map(|text| (text.split('\'').next().unwrap().to_string(), number_behind(text, "Used"))).collect();
    let without = " 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads";
    let spilling = functions().filter(|text| !text.contains(without)).collect();
    let version = ptx.lines().find_map(|line| line.strip_prefix(".version ")).unwrap().to_string();
    (version, registers, spilling)
}

/// For GPUs, without registers that spill to memory, and as `resources.txt` says; `UPDATE_RESOURCES` writes that anew.
#[test]
#[ignore = "needs the NVRTC library of a CUDA toolkit, in NVRTC_LIBRARY"]
fn every_kernel_compiles_to_what_is_known_of_it() {
    let nvrtc = Nvrtc::open();
    let known = experiment();
    let others = OTHERS.into_iter().flat_map(|(layer, side, numbers)| kernels_of(&[(layer, side)], numbers));
    let all = known.iter().copied().chain(others).collect::<Vec<_>>();
    let chunks: Vec<_> =
        ["80", "90"].into_iter().flat_map(|capability| all.chunks(24).map(move |chunk| (capability, chunk))).collect();
    let compiled =
        chunks.into_par_iter().map(|(capability, kernels)| (capability, compiled(&nvrtc, capability, kernels)));
    let (mut version, mut registers, mut spilling) = (String::new(), BTreeMap::new(), String::new());
    for (capability, (of_ptx, of_kernels, of_spilling)) in compiled.collect::<Vec<_>>() {
        version = of_ptx;
        spilling += &of_spilling;
        if capability == "90" {
            registers.extend(of_kernels);
        }
    }

    assert!(spilling.is_empty(), "{spilling}");
    let mut table = format!(
        "# Compute capability 9.0, by a compiler to PTX {version}: registers, bytes of shared memory, blocks at once on a\n"
    );
    table.push_str("# multiprocessor.\n");
    for kernel in &known {
        let (registers, shared) = (registers[&kernel.name()], kernel.shared());
        let name = kernel.name();
        let name = name.trim_start_matches("zskt_conv_");
        writeln!(table, "{registers:3} {shared:6} {} {name}", resident(registers, shared)).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cuda/conv/tensor_cores/resources.txt");
    if std::env::var_os("UPDATE_RESOURCES").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap();
    if recorded.lines().next() == table.lines().next() {
        let changed: Vec<_> = table.lines().filter(|line| !recorded.lines().any(|known| known == *line)).collect();
        assert!(recorded == table, "UPDATE_RESOURCES=1 records what is not in {}: {changed:#?}", path.display());
    } else {
        println!("recorded by another compiler; by this:\n{table}");
    }
}
