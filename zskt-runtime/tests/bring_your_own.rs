//! From a teacher's file, as other programs write it, to a transfer that has run and a student that others can open.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use zskt_api::candle_core::{DType, Device, Tensor};
use zskt_api::testing::plugin;
use zskt_api::{Builder, PluginInstance, Precision};
use zskt_runtime as _;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/teachers")
}

fn zskt_run(folder: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_zskt-run");
    Command::new(program).args(arguments).current_dir(folder).output().expect("the program starts")
}

/// What a command that works says.
fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = zskt_run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it speaks UTF-8")
}

/// What a command that is refused says.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = zskt_run(folder, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    String::from_utf8(output.stderr).expect("it speaks UTF-8")
}

/// Weights of an architecture, in the order of their making.
fn weights(model: &str) -> Vec<(String, Tensor)> {
    let PluginInstance::Architecture(architecture) = plugin(model).expect("it is exported") else {
        panic!("{model} is no architecture")
    };
    let builder = Builder::zeros(Precision::F32, &Device::Cpu);
    architecture.build(&builder).expect("it is built");
    let weights = builder.weights();
    weights.iter().map(|weight| (weight.name().to_owned(), weight.var().as_tensor().clone())).collect()
}

fn save(path: &Path, weights: &[(String, Tensor)]) {
    let named = weights.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let bytes = torch_checkpoint::write_state_dict(named).expect("it is written");
    std::fs::write(path, bytes).expect("there is room");
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room")
}

#[test]
fn from_a_file_to_a_student() {
    let folder = folder();
    let here = folder.path();
    std::fs::copy(fixtures().join("kuangliu/ckpt.pth"), here.join("resnet18.pth")).expect("there is room");
    let new = said(here, &["new", "--teacher", "resnet18.pth"]);
    insta::assert_snapshot!(new);
    insta::assert_snapshot!(std::fs::read_to_string(here.join("resnet18.ron")).expect("it is written"));
    assert!(refused(here, &["new", "--teacher", "resnet18.pth"]).contains("give another file with --to"));

    let student = "student=WideResNet(depth: 16, widen_factor: 2)";
    let short = ["distill.batches=2", "distill.batch_size=4", student].map(|setting| ["--set", setting]).concat();
    said(here, &[&["resnet18.ron", "--out", "run"][..], &short].concat());
    said(here, &["export", "run", "--format", "pth"]);
    said(here, &["export", "run", "--format", "safetensors", "--network", "generator"]);
    assert!(refused(here, &["export", "run", "--format", "pth"]).contains("nothing is ever overwritten"));
    // What was written is a teacher again, of which all is known.
    let again = said(here, &["new", "--teacher", "student.pth", "--student", "LeNet"]);
    assert!(again.contains("WideResNet(depth: 16, widen_factor: 2") && again.contains("LeNet"), "{again}");

    let teacher = said(here, &["export", "run", "--network", "teacher", "--format", "onnx"]);
    assert!(teacher.contains("`teacher` of run") && teacher.contains("as its file has it"), "{teacher}");
    assert!(said(here, &["inspect", "teacher.onnx"]).contains("as a teacher: Onnx("));
    said(here, &["export", "run", "--format", "onnx"]);
    let page = said(here, &["inspect", "student.onnx"]);
    assert!(page.contains("as a teacher: Onnx(path: \"student.onnx\")"), "{page}");
    // The largest of the usual students that is smaller than it.
    let of_onnx = said(here, &["new", "--teacher", "student.onnx", "--to", "of-onnx.ron"]);
    assert!(of_onnx.contains("student  WideResNet(depth: 16, widen_factor: 1): 175,066 parameters"), "{of_onnx}");
    said(here, &["validate", "of-onnx.ron"]);
}

#[test]
fn every_source_becomes_a_pipeline_that_is_sound() {
    let teachers = fixtures().join("teachers.json");
    let teachers = std::fs::read_to_string(teachers).expect("the fixtures are there");
    let teachers: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&teachers).expect("JSON");
    assert!(teachers.len() >= 10);
    let folder = folder();
    for (index, (file, teacher)) in teachers.iter().enumerate() {
        let path = fixtures().join(file);
        let (path, pipeline) = (path.to_str().expect("UTF-8"), format!("{index}.ron"));
        let new = said(folder.path(), &["new", "--teacher", path, "--to", &pipeline]);
        let model = teacher["model"].as_str().expect("a model");
        let name = model.split('(').next().expect("a name");
        assert!(new.contains(&format!("teacher  {name}(")), "{file}: {new}");
        said(folder.path(), &["validate", &pipeline]);
        let page = said(folder.path(), &["inspect", path]);
        assert!(page.contains(&format!("fits {name}(")), "{file}: {page}");
    }
}

#[test]
fn the_method_is_the_recommended_one_where_the_teacher_allows_it() {
    let folder = folder();
    let here = folder.path();
    let teacher = fixtures().join("kuangliu/ckpt.pth");
    let known = ["--mean", "0.4914,0.4822,0.4465", "--std", "0.247,0.2435,0.2616"];
    let new = |teacher: &Path, to: &str, more: &[&str]| {
        let teacher = teacher.to_str().expect("UTF-8");
        said(here, &[&["new", "--teacher", teacher, "--to", to][..], more].concat())
    };
    let written = |to: &str| std::fs::read_to_string(here.join(to)).expect("it is written");
    let fast = new(&teacher, "fast.ron", &known);
    assert!(fast.contains("method   Fast-Datafree") && !fast.contains("how its images were normalized"), "{fast}");
    insta::assert_snapshot!(written("fast.ron").replace(fixtures().to_str().expect("UTF-8"), "FOLDER"));
    let settings = ["distill.batches=2", "distill.batch_size=4", "synthesize.images=8", "synthesize.warm_up=1"];
    let settings: Vec<_> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    said(here, &[&["fast.ron", "--out", "run"][..], &settings].concat());

    // Nothing is known of how its images were normalized, or there is no batch norm: why, is said twice.
    let unknown = new(&teacher, "unknown.ron", &[]);
    // Its exporter has folded the batch norms into convolutions.
    let folded = fixtures().join("../../../plugins/teachers/tests/onnx/fixtures/vgg.18.onnx");
    let without = new(&folded, "without.ron", &known);
    for (said, to, reason) in [
        (unknown, "unknown.ron", "how its teacher wants them normalized is not known"),
        (without, "without.ron", "`teacher` has no batch norm"),
    ] {
        let why = "method   Adversarial belief matching (Micaelli & Storkey, NeurIPS 2019), for Fast-Datafree";
        assert!(said.contains(why) && said.contains(reason), "{said}");
        let comment = written(to).replace("\n// ", " ");
        assert!(comment.contains("cannot be used with this teacher") && comment.contains(reason), "{comment}");
        assert!(comment.contains("\"seek\":"), "{comment}");
        // No advice for a pipeline that was not written.
        assert!(!said.contains("leave that loss out") && !comment.contains("leave that loss out"), "{said}");
    }
    let wanted = refused(
        here,
        &[&["new", "--teacher", folded.to_str().expect("UTF-8"), "--method", "dfq"][..], &known].concat(),
    );
    assert!(wanted.contains("no batch norm"), "{wanted}");

    for method in ["nayer", "dfq", "deep-inversion", "dafl", "dfad", "abm"] {
        let to = format!("{method}.ron");
        let said_of = new(&teacher, &to, &[&known[..], &["--method", method]].concat());
        assert!(!said_of.contains("method "), "it was asked for: {said_of}");
        said(here, &["validate", &to]);
        let has_short = !["dafl", "dfad"].contains(&method);
        assert_eq!(said_of.contains(&format!("zskt-run {to} --set variant=short")), has_short, "{said_of}");
        if has_short {
            said(here, &["validate", &to, "--deny-warnings", "--set", "variant=short"]);
        }
    }
}

#[test]
fn a_method_of_pixels_wants_to_know_their_normalization() {
    let folder = folder();
    let here = folder.path();
    let teacher = fixtures().join("kuangliu/ckpt.pth");
    for method in ["fast", "nayer", "dfq", "deep-inversion", "dafl"] {
        let new = [
            "new",
            "--teacher",
            teacher.to_str().expect("UTF-8"),
            "--method",
            method,
            "--to",
            &format!("{method}.ron"),
        ];
        let told = refused(here, &new);
        let way_out = "--mean 0.4914,0.4822,0.4465 --std 0.247,0.2435,0.2616";
        assert!(told.contains("which nothing tells") && told.contains(&format!("as in `{way_out}`")), "{told}");
        said(here, &[&new[..], &way_out.split(' ').collect::<Vec<_>>()].concat());
    }
    for method in ["dfad", "abm"] {
        said(
            here,
            &[
                "new",
                "--teacher",
                teacher.to_str().expect("UTF-8"),
                "--method",
                method,
                "--to",
                &format!("{method}.ron"),
            ],
        );
    }
}

#[test]
fn a_method_has_what_is_published_for_such_teachers() {
    let folder = folder();
    let here = folder.path();
    save(&here.join("resnet.pth"), &weights("ResNet(depth: 18, stem: Cifar, width: 4, classes: 100)"));
    for (method, expected) in [
        ("fast", ["CIFAR-100 and a ResNet-34", "OneHot(class: Label, weight: 0.5)", "KlDivergence(weight: -1.33,"]),
        ("nayer", ["published for CIFAR-100.", "classes: 100, batch_size: 400", "steps: 40, syntheses: 2"]),
        ("dfq", ["CIFAR-100 and a ResNet-34", "Sgd(lr: 0.05,", "weight: 20.0"]),
        ("deep-inversion", ["CIFAR-10 and a WRN-40-2", "Pixels(", "steps: 1000"]),
    ] {
        let to = format!("{method}.ron");
        let known = ["--mean", "0.4914,0.4822,0.4465", "--std", "0.247,0.2435,0.2616"];
        said(here, &[&["new", "--teacher", "resnet.pth", "--method", method, "--to", &to][..], &known].concat());
        let written = std::fs::read_to_string(here.join(&to)).expect("it is written").replace("\n// ", " ");
        assert!(expected.iter().all(|part| written.contains(part)), "{written}");
    }
}

#[test]
fn a_student_is_smaller_than_its_teacher_or_that_is_said() {
    let folder = folder();
    let here = folder.path();
    save(&here.join("lenet.pth"), &weights("LeNet(size: 16)"));
    let smaller = said(here, &["new", "--teacher", "lenet.pth"]);
    assert!(smaller.contains("student  CifarResNet(depth: 8, widths: [2, 2, 4, 8]): 1,420 parameters"), "{smaller}");
    assert!(!smaller.contains("No usual student"), "{smaller}");

    // No convolutional network multiplies as little.
    save(&here.join("mlp.pth"), &weights("Mlp(hidden: [16], channels: 1, size: 28)"));
    let larger = said(here, &["new", "--teacher", "mlp.pth"]);
    let why = "No usual student is smaller than this teacher: this one has 605,408 multiplications for an image, the teacher 12,704";
    let student = "Mlp(hidden: [8], channels: 1, size: 28)";
    assert!(larger.contains(why) && larger.contains(&format!("--student '{student}'")), "{larger}");
    let written = std::fs::read_to_string(here.join("mlp.ron")).expect("it is written").replace("\n// ", " ");
    assert!(written.contains(why), "{written}");
    let pasted = said(here, &["new", "--teacher", "mlp.pth", "--student", student, "--to", "pasted.ron"]);
    assert!(!pasted.contains("No usual student"), "{pasted}");
}

#[test]
fn the_normalization_that_is_proposed_is_one_for_such_images() {
    let folder = folder();
    let here = folder.path();
    for (file, model, proposed) in [
        ("grey.pth", "CifarResNet(depth: 8, channels: 1)", "--mean 0.1307 --std 0.3081"),
        ("coloured.pth", "CifarResNet(depth: 8)", "--mean 0.4914,0.4822,0.4465 --std 0.247,0.2435,0.2616"),
        (
            "large.pth",
            "ResNet(depth: 18, stem: ImageNet, width: 4)",
            "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225",
        ),
    ] {
        save(&here.join(file), &weights(model));
        let new = said(here, &["new", "--teacher", file]);
        assert!(new.contains(&format!("as in `{proposed}`")), "{file}: {new}");
        let pasted: Vec<_> = proposed.split(' ').collect();
        said(here, &[&["new", "--teacher", file, "--to", &format!("{file}.ron")][..], &pasted].concat());
    }
}

#[test]
fn a_normalization_that_does_not_fit_is_refused_whatever_the_method() {
    let folder = folder();
    let here = folder.path();
    let teacher = fixtures().join("kuangliu/ckpt.pth");
    let new = ["new", "--teacher", teacher.to_str().expect("UTF-8"), "--to", "new.ron"];
    for method in [&[][..], &["--method", "fast"], &["--method", "abm"]] {
        for (given, expected) in [
            (["0.5,0.5", "0.2,0.2"], "--mean has 2 numbers, and the teacher takes images 3×32×32"),
            (["0.5", "0.2"], "--mean has 1 number, and the teacher takes images 3×32×32"),
            (["0.5,0.5,0.5", "0.2,0.2"], "--std has 2 numbers, and the teacher takes images 3×32×32"),
            (["125,122,113", "0.2,0.2,0.2"], "divide by 255: --mean 0.4902,0.4784,0.4431"),
            (["0.5,0.5,0.5", "63,62,67"], "divide by 255: --std 0.2471,0.2431,0.2627"),
        ] {
            let said = refused(here, &[&new[..], &["--mean", given[0], "--std", given[1]], method].concat());
            assert!(said.contains(expected), "{method:?} {given:?}: {said}");
        }
    }
    assert!(!here.join("new.ron").exists(), "nothing is written");

    said(here, &[&new[..], &["--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2"]].concat());
    let of_bytes = refused(here, &["validate", "new.ron", "--set", "teacher.mean=[125.0, 122.0, 113.0]"]);
    assert!(of_bytes.contains("out of range") && of_bytes.contains("divide it by 255"), "{of_bytes}");
}

#[test]
fn weights_that_no_architecture_has_are_compared_with_the_nearest() {
    let folder = folder();
    let here = folder.path();
    let mut renamed = weights("CifarResNet(depth: 20, classes: 100)");
    for (name, _) in &mut renamed {
        *name = name.replace("layer", "stage").replace("conv", "cv");
    }
    save(&here.join("renamed.pth"), &renamed);
    let new = said(here, &["new", "--teacher", "renamed.pth"]);
    let fits = "teacher  CifarResNet(depth: 20, classes: 100): every name and shape fits, by `rename: [";
    assert!(new.contains(fits) && new.contains("see whether the names mean the same"), "{new}");
    let written = std::fs::read_to_string(here.join("renamed.ron")).expect("it is written");
    assert!(written.contains("path: \"renamed.pth\", rename: [("), "{written}");
    assert!(written.replace("\n//  ", "").contains("see whether the names mean the same"), "{written}");
    said(here, &["validate", "renamed.ron"]);

    let mut missing = weights("CifarResNet(depth: 20)");
    missing.retain(|(name, _)| name != "layer3.2.conv2.weight");
    // Files need not have the network's order.
    missing.reverse();
    save(&here.join("missing.pth"), &missing);
    let refusal = refused(here, &["new", "--teacher", "missing.pth"]);
    for expected in [
        "no architecture has the weights of `missing.pth`; the nearest is `CifarResNet(depth: 20)`",
        "layer3.2.conv2.weight: missing, expected shape [64, 64, 3, 3]",
    ] {
        assert!(refusal.contains(expected), "{refusal}");
    }

    // Without weights of its own it is another network.
    let mut more = weights("CifarResNet(depth: 20)");
    let gate = Tensor::ones((4, 16), DType::F32, &Device::Cpu).expect("a tensor");
    more.extend((0..3).map(|block| (format!("layer1.{block}.se.weight"), gate.clone())));
    save(&here.join("more.pth"), &more);
    let refusal = refused(here, &["new", "--teacher", "more.pth"]);
    assert!(refusal.contains("the nearest is `CifarResNet(depth: 20)`") && refusal.contains("ignore: ["), "{refusal}");
}

#[test]
fn copies_are_one_network_and_others_are_for_the_user_to_decide() {
    let folder = folder();
    let here = folder.path();
    let network = weights("LeNet()");
    let under = |key: &str, change: f64| -> Vec<(String, Tensor)> {
        network.iter().map(|(name, tensor)| (format!("{key}.{name}"), (tensor + change).expect("a sum"))).collect()
    };
    save(&here.join("same.pth"), &[under("model", 0.0), under("ema", 0.0)].concat());
    let new = said(here, &["new", "--teacher", "same.pth"]);
    assert!(new.contains("names after `model.`, the same weights as in `ema`"), "{new}");
    said(here, &["validate", "same.ron"]);
    save(&here.join("two.pth"), &[under("model", 0.0), under("the ema", 1.0)].concat());
    let two = refused(here, &["new", "--teacher", "two.pth"]);
    assert!(two.contains("`two.pth` holds 2 networks") && two.contains("--key 'the ema'"), "{two}");
    save(&here.join("bare.pth"), &network);
    let bare = refused(here, &["new", "--teacher", "bare.pth", "--key", "net"]);
    assert!(bare.contains("no weights under the key `net`") && bare.contains("leave --key out"), "{bare}");
    let other = refused(here, &["new", "--teacher", "two.pth", "--key", "net"]);
    assert!(other.contains("its weights are under --key model and --key 'the ema'"), "{other}");
}

/// The words of a printed command, between whose quotes there is no other quote.
fn words(command: &str) -> Vec<String> {
    let quoted = command.split('\'').enumerate();
    quoted
        .flat_map(|(index, part)| match index % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

#[test]
fn what_lies_beside_the_weights_is_checked_like_parameters() {
    let folder = folder();
    let here = folder.path();
    let with = |name: &str, file: &str, text: &str| {
        std::fs::create_dir(here.join(name)).expect("there is room");
        save(&here.join(name).join("pytorch_model.bin"), &weights("CifarResNet(depth: 8)"));
        std::fs::write(here.join(name).join(file), text).expect("there is room");
    };
    with("bytes", "config.json", r#"{"pretrained_cfg": {"mean": [125, 122, 113], "std": [63, 62, 66]}}"#);
    let way_out = "--mean 0.4902,0.4784,0.4431 --std 0.2471,0.2431,0.2588";
    let told = refused(here, &["new", "--teacher", "bytes"]);
    assert!(told.contains("not of pixels from 0 to 1") && told.contains(way_out), "{told}");
    said(here, &[&["new", "--teacher", "bytes"][..], &way_out.split(' ').collect::<Vec<_>>()].concat());
    let told = refused(here, &["validate", "bytes.ron", "--set", "teacher.mean=None", "--set", "teacher.std=None"]);
    assert!(told.contains("write `mean: [0.4902, 0.4784, 0.4431], std: [0.2471, 0.2431, 0.2588]`"), "{told}");

    with("zero", "config.json", r#"{"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0, 0.26]}}"#);
    assert!(refused(here, &["new", "--teacher", "zero"]).contains("say with --mean and --std"));

    let unscaled =
        r#"{"image_mean": [123.675, 116.28, 103.53], "image_std": [58.395, 57.12, 57.375], "do_rescale": false}"#;
    with("unscaled", "preprocessor_config.json", unscaled);
    assert!(said(here, &["inspect", "unscaled"]).contains("mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]"));
    said(here, &["new", "--teacher", "unscaled"]);

    // The file at fault is named, not the folder.
    with("damaged", "config.json", "{");
    assert!(refused(here, &["new", "--teacher", "damaged"]).contains("`damaged/config.json`"));
}

#[test]
fn numbers_that_no_network_computes_with_are_found_before_the_run() {
    let folder = folder();
    let here = folder.path();
    let with = |file: &str, weight: &str, value: f32| {
        let mut weights = weights("CifarResNet(depth: 8)");
        let (_, tensor) = weights.iter_mut().find(|(name, _)| name == weight).expect("it has such a weight");
        *tensor = Tensor::full(value, tensor.shape(), &Device::Cpu).expect("there is room");
        save(&here.join(file), &weights);
    };
    with("nan.pth", "conv1.weight", f32::NAN);
    with("negative.pth", "bn1.running_var", -1.0);
    for (file, expected) in [
        ("nan.pth", "`conv1.weight` in `nan.pth` holds numbers that are not finite"),
        ("negative.pth", "`bn1.running_var` in `negative.pth` holds a variance that is negative"),
    ] {
        let told = refused(here, &["new", "--teacher", file]);
        assert!(told.contains(expected) && told.contains("take an earlier checkpoint"), "{told}");
        with("whole.pth", "conv1.weight", 0.0);
        said(here, &["new", "--teacher", "whole.pth", "--to", &format!("{file}.ron")]);
        let told = refused(here, &["validate", &format!("{file}.ron"), "--set", &format!("teacher.path={file:?}")]);
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn what_new_proposes_it_takes() {
    let folder = folder();
    let here = folder.path();
    let mut larger = weights("CifarResNet(depth: 8)");
    for index in 0..3 {
        let tensor = Tensor::zeros((4, 5), DType::F32, &Device::Cpu).expect("there is room");
        larger.push((format!("auxiliary.{index}.weight"), tensor));
    }
    save(&here.join("larger.pth"), &larger);
    let told = refused(here, &["new", "--teacher", "larger.pth"]);
    let (_, command) = told.split_once("to leave these out: ").expect("it says how");
    let command = words(command.lines().next().expect("a line"));
    assert_eq!(command, ["--ignore", "auxiliary.*"]);
    let arguments: Vec<_> = command.iter().map(String::as_str).collect();
    let known = ["--mean", "0.4914,0.4822,0.4465", "--std", "0.247,0.2435,0.2616"];
    let new = said(here, &[&["new", "--teacher", "larger.pth"][..], &arguments, &known].concat());
    assert!(new.contains("wrote larger.ron") && new.contains("method   Fast-Datafree"), "{new}");
    said(here, &["validate", "larger.ron"]);
    // All else is as without what is left out: what is recognized, the images, the settings for such teachers.
    let mut photographs = weights("ResNet(depth: 18, stem: ImageNet, width: 4, classes: 7)");
    photographs.push(("extra".into(), Tensor::zeros(3, DType::F32, &Device::Cpu).expect("there is room")));
    save(&here.join("photographs.pth"), &photographs);
    let known = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--ignore", "ext.*"];
    let new = said(here, &[&["new", "--teacher", "photographs.pth"][..], &known].concat());
    assert!(new.contains("images of 224×224"), "{new}");
    let written = std::fs::read_to_string(here.join("photographs.ron")).expect("it is written");
    assert!(written.contains("ignore: [\"ext.*\"]") && written.contains("weight: -1.33"), "{written}");

    // What is left out does not count, however much it is, and whatever stands before its name.
    let renamed: Vec<_> = weights("CifarResNet(depth: 8)")
        .into_iter()
        .map(|(name, tensor)| (format!("module.{}", name.replace("linear", "head").replace("fc", "head")), tensor))
        .chain((0..200).map(|index| {
            (format!("module.queue.{index}"), Tensor::zeros((9, 7), DType::F32, &Device::Cpu).expect("there is room"))
        }))
        .collect();
    save(&here.join("renamed.pth"), &renamed);
    let new = said(here, &["new", "--teacher", "renamed.pth", "--ignore", "module[.]queue[.].*"]);
    assert!(new.contains("teacher  CifarResNet(depth: 8"), "{new}");
    // A network that says yes or no.
    let mut yes_or_no = weights("CifarResNet(depth: 8, classes: 2)");
    for (name, tensor) in &mut yes_or_no {
        if name.starts_with("linear.") || name.starts_with("fc.") {
            *tensor = tensor.narrow(0, 0, 1).and_then(|first| first.contiguous()).expect("it has two rows");
        }
    }
    save(&here.join("yes.pth"), &yes_or_no);
    let told = refused(here, &["new", "--teacher", "yes.pth"]);
    assert!(told.contains("one output") && told.contains("torch.cat([torch.zeros_like(weight), weight])"), "{told}");
}

#[test]
fn a_file_is_known_by_what_it_holds() {
    let folder = folder();
    let here = folder.path();
    let graph = fixtures().join("../../../plugins/teachers/tests/onnx/fixtures/vgg.18.onnx");
    std::fs::copy(graph, here.join("model.bin")).expect("there is room");
    assert!(said(here, &["new", "--teacher", "model.bin"]).contains("teacher  Onnx(path: \"model.bin\")"));
    let told = refused(here, &["new", "--teacher", "model.bin", "--output", "logits"]);
    assert!(told.contains("it has `output`; here: --output NAME"), "{told}");
    said(here, &["new", "--teacher", "model.bin", "--output", "output", "--to", "output.ron"]);
    said(here, &["validate", "output.ron"]);
    let written = std::fs::read_to_string(here.join("output.ron")).expect("it is written");
    assert!(written.contains("Onnx(path: \"model.bin\", output: \"output\")"), "{written}");
    std::fs::copy(fixtures().join("kuangliu/ckpt.pth"), here.join("ckpt.onnx")).expect("there is room");
    said(here, &["new", "--teacher", "ckpt.onnx"]);
    assert!(
        refused(here, &["new", "--teacher", "ckpt.onnx", "--output", "logits"]).contains("--output is for ONNX models")
    );
    assert!(
        refused(here, &["new", "--teacher", "model.bin", "--ignore", "a"]).contains("--ignore is for files of weights")
    );
    let told = refused(here, &["validate", "ckpt.ron", "--set", "teacher.path=\"model.bin\""]);
    assert!(told.contains("it is an ONNX model") && told.contains("`Onnx(path: …)` takes it"), "{told}");
    assert!(refused(here, &["inspect", "ckpt.onnx", "--key", "nett"]).contains("its weights are under --key net"));

    let header = r#"{"conv1.weight":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 2]].concat();
    std::fs::write(here.join("int8.safetensors"), bytes).expect("there is room");
    let reason = "its tensor `conv1.weight` has elements of type int8";
    assert!(said(here, &["inspect", "int8.safetensors"]).contains(&format!("not usable: {reason}")));
    let told = refused(here, &["new", "--teacher", "int8.safetensors"]);
    assert!(told.contains(reason) && told.contains("as float32"), "{told}");
}

#[test]
fn commands_that_are_printed_can_be_pasted() {
    let folder = folder();
    let here = folder.path();
    std::fs::copy(fixtures().join("kuangliu/ckpt.pth"), here.join("my net (1).pth.tar")).expect("there is room");
    let new = said(here, &["new", "--teacher", "my net (1).pth.tar"]);
    assert!(
        new.contains("\n  zskt-run 'my net (1).ron' --dry ") && new.contains("\n  zskt-run 'my net (1).ron'\n"),
        "{new}"
    );
    assert!(here.join("my net (1).ron").exists());
}

#[test]
fn a_folder_of_hugging_face_brings_its_normalization() {
    let folder = folder();
    let timm = fixtures().join("timm");
    let timm = timm.to_str().expect("UTF-8");
    let page = said(folder.path(), &["inspect", timm]);
    assert!(page.contains("configuration: resnet18, 10 classes, images 3×"), "{page}");
    let new = said(folder.path(), &["new", "--teacher", timm, "--to", "timm.ron"]);
    assert!(!new.contains("how its images were normalized") && !new.contains("images of 32×32"), "{new}");
    let other = fixtures().join("torchvision/resnet18-f37072fd.pth");
    let new = said(folder.path(), &["new", "--teacher", other.to_str().expect("UTF-8"), "--to", "other.ron"]);
    assert!(new.contains("how its images were normalized") && new.contains("images of 224×224"), "{new}");
}

#[test]
fn what_was_exported_says_which_images_it_takes() {
    let folder = folder();
    let here = folder.path();
    let teacher = fixtures().join("kuangliu/ckpt.pth");
    let teacher = teacher.to_str().expect("UTF-8");
    let known = ["--mean", "0.4914,0.4822,0.4465", "--std", "0.247,0.2435,0.2616"];
    said(here, &[&["new", "--teacher", teacher, "--method", "abm", "--to", "abm.ron"][..], &known].concat());
    said(here, &["abm.ron", "--set", "distill.batches=2", "--set", "distill.batch_size=4", "--out", "run"]);
    said(here, &["export", "run", "--format", "safetensors"]);
    said(here, &["export", "run", "--format", "onnx"]);
    said(here, &["export", "run", "--format", "onnx", "--with-normalization", "--to", "normalizes.onnx"]);
    for (file, expected) in [
        ("student.safetensors", "images 3×32×32, mean [0.4914, 0.4822, 0.4465], std [0.247, 0.2435, 0.2616]"),
        ("student.onnx", "for images of mean [0.4914, 0.4822, 0.4465] and std [0.247, 0.2435, 0.2616]"),
        ("normalizes.onnx", "for images of mean [0.0, 0.0, 0.0] and std [1.0, 1.0, 1.0]"),
    ] {
        let page = said(here, &["inspect", file]);
        assert!(page.contains(expected), "{page}");
        let pipeline = format!("{file}.ron");
        let new = said(here, &["new", "--teacher", file, "--student", "LeNet", "--to", &pipeline]);
        assert!(!new.contains("how its images were normalized") && !new.contains("images of 32×32"), "{new}");
        said(here, &["validate", &pipeline]);
    }
    // Of others' models it is said that they do not.
    let foreign = fixtures().join("../../../plugins/teachers/tests/onnx/fixtures/vgg.18.onnx");
    let page = said(here, &["inspect", foreign.to_str().expect("UTF-8")]);
    assert!(page.contains("how its images were normalized is not told"), "{page}");
}

#[test]
fn images_are_found_counted_and_shown() {
    let folder = folder();
    let here = folder.path();
    let record = |label: u8| [vec![label], vec![label * 20; 3072]].concat();
    let set: Vec<u8> = (0..10).flat_map(record).collect();
    std::fs::write(here.join("test_batch.bin"), &set).expect("there is room");
    for batch in 1..=5 {
        std::fs::write(here.join(format!("data_batch_{batch}.bin")), &set).expect("there is room");
    }
    let page = said(here, &["inspect", ".", "--samples", "samples.png"]);
    assert!(page.contains("Cifar10(split: Test, path: \".\")\n  10 images 3×32×32, 10 classes"), "{page}");
    assert!(page.contains("  50 images 3×32×32, 10 classes"), "{page}");
    // The fourth image, as it is.
    let samples = image::open(here.join("samples.png")).expect("a picture").to_rgb8();
    assert_eq!(samples.get_pixel(2 + 3 * 34, 2).0, [60; 3]);

    let teacher = fixtures().join("kuangliu/ckpt.pth");
    let teacher = teacher.to_str().expect("UTF-8");
    said(here, &["new", "--teacher", teacher, "--data", ".", "--to", "measured.ron"]);
    let measured = std::fs::read_to_string(here.join("measured.ron")).expect("it is written");
    assert!(measured.contains("\"test_set\":") && measured.contains("test_set -> agreement.dataset"), "{measured}");
    said(here, &["validate", "measured.ron"]);
    assert!(refused(here, &["inspect", ".", "--samples", "samples.png"]).contains("exists"), "nothing is overwritten");
}

#[test]
fn splits_that_a_folder_of_images_lacks_are_not_made_up() {
    let folder = folder();
    let here = folder.path();
    for class in 0..10 {
        for parent in ["whole", "begun/train"] {
            let class = here.join(parent).join(format!("class{class}"));
            std::fs::create_dir_all(&class).expect("there is room");
            image::RgbImage::new(32, 32).save(class.join("1.png")).expect("there is room");
        }
    }
    let whole = "ImageFolder(split: Test, path: \"whole\")\n  10 images 3×32×32, 10 classes\n  not split: these are all images, \
                 whatever `split` says\n";
    assert_eq!(said(here, &["inspect", "whole"]), whole);
    let missing = "there are no test images: begun: there is no folder test or val or valid or validation, only train";
    let begun = format!("ImageFolder(split: Train, path: \"begun\")\n  10 images 3×32×32, 10 classes\n  {missing}\n");
    assert_eq!(said(here, &["inspect", "begun"]), begun);

    let teacher = fixtures().join("kuangliu/ckpt.pth");
    let teacher = teacher.to_str().expect("UTF-8");
    for (data, caution) in [("whole", "they are not split"), ("begun", "there are no test images")] {
        let pipeline = format!("{data}.ron");
        let new = said(here, &["new", "--teacher", teacher, "--data", data, "--to", &pipeline]);
        assert!(new.contains(&format!("10 classes; {caution}")), "{new}");
        let written = std::fs::read_to_string(here.join(&pipeline)).expect("it is written");
        assert!(written.contains(&format!("// Mind: {caution}")), "{written}");
        said(here, &["validate", &pipeline]);
    }
}

#[test]
fn photographs_of_all_sizes_become_what_the_teacher_takes() {
    let folder = folder();
    let here = folder.path();
    for class in 0..10 {
        for (parent, width, height) in
            [("photos", 40 + class, 50), ("wide", 60, 50), ("small", 16, 20), ("large", 256, 256)]
        {
            let class = here.join(parent).join(format!("class{class}"));
            std::fs::create_dir_all(&class).expect("there is room");
            image::RgbImage::new(width, height).save(class.join("1.png")).expect("there is room");
        }
    }
    let sizes = "photos/class1/1.png: the image is 41×50, but the first one is 40×50: all must have one size";
    let found = format!(
        "ImageFolder(split: Test, path: \"photos\", resize: 224, center_crop: 224)\n  10 images 3×224×224, 10 classes\n  resized, for \
         {sizes}\n"
    );
    assert!(said(here, &["inspect", "photos"]).starts_with(&found));

    let teacher = fixtures().join("kuangliu/ckpt.pth");
    let teacher = teacher.to_str().expect("UTF-8");
    for (data, reason) in [("photos", sizes), ("wide", "they are 3×50×60")] {
        let pipeline = format!("{data}.ron");
        let new = said(here, &["new", "--teacher", teacher, "--data", data, "--to", &pipeline]);
        assert!(
            new.contains(&format!("10 images 3×32×32, 10 classes; resized to what the teacher takes, for {reason}")),
            "{new}"
        );
        let written = std::fs::read_to_string(here.join(&pipeline)).expect("it is written");
        assert!(written.contains(&format!("path: {data:?}, resize: 32, center_crop: 32)")), "{written}");
        said(here, &["validate", &pipeline]);
    }
    // What is usual for a network for photographs tells more than a folder does.
    let other = fixtures().join("torchvision/resnet18-f37072fd.pth");
    let new = said(here, &["new", "--teacher", other.to_str().expect("UTF-8"), "--data", "large", "--to", "large.ron"]);
    assert!(
        new.contains("resize: 224, center_crop: 224): 10 images 3×224×224") && new.contains("they are 3×256×256"),
        "{new}"
    );
    let small = refused(here, &["new", "--teacher", teacher, "--data", "small"]);
    assert!(
        small.contains("the teacher takes images 3×32×32 of 10 classes") && small.contains("images 3×20×16"),
        "{small}"
    );
    // Who writes a pipeline learns of it before the run, and what to write.
    let plain = "test_set=ImageFolder(path: \"photos\", split: Test)";
    let mixed = refused(here, &["validate", "photos.ron", "--set", plain]);
    assert!(
        mixed.contains(sizes) && mixed.contains("`resize: 40, center_crop: 40` makes all of them 40×40"),
        "{mixed}"
    );
}

#[test]
fn what_several_plugins_read_is_for_the_user_to_decide() {
    let folder = folder();
    let here = folder.path();
    // Ten images of 28×28 as MNIST and its kin have them: the files are named alike.
    let images = [&[0, 0, 8, 3, 0, 0, 0, 10, 0, 0, 0, 28, 0, 0, 0, 28][..], &[7; 7840]].concat();
    let labels = [&[0, 0, 8, 1, 0, 0, 0, 10][..], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]].concat();
    std::fs::create_dir(here.join("digits")).expect("there is room");
    std::fs::write(here.join("digits/t10k-images-idx3-ubyte"), images).expect("there is room");
    std::fs::write(here.join("digits/t10k-labels-idx1-ubyte"), labels).expect("there is room");
    let teacher = fixtures().join("kuangliu/ckpt.pth");
    let teacher = teacher.to_str().expect("UTF-8");
    let several = refused(here, &["new", "--teacher", teacher, "--data", "digits"]);
    assert!(several.contains("FashionMnist, KMnist, Mnist") && several.contains("--data '"), "{several}");
    let named = refused(here, &["new", "--teacher", teacher, "--data", "Mnist(split: Test, path: \"digits\")"]);
    assert!(named.contains("takes images 3×32×32") && named.contains("images 1×28×28"), "{named}");
}

#[test]
fn names_out_of_a_file_are_shown_and_not_obeyed() {
    let folder = folder();
    let name = "\u{1b}[2J.weight";
    let header = format!("{{{name:?}:{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}}}")
        .replace("\\u{1b}", "\\u001b");
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0; 4]].concat();
    std::fs::write(folder.path().join("odd.safetensors"), bytes).expect("there is room");
    let page = said(folder.path(), &["inspect", "odd.safetensors"]);
    assert!(page.contains("[2J.weight") && !page.contains('\u{1b}'), "{page}");
    let refusal = refused(folder.path(), &["new", "--teacher", "odd.safetensors"]);
    assert!(!refusal.contains('\u{1b}'), "{refusal}");
}

#[test]
fn what_is_no_teacher_is_said() {
    let folder = folder();
    let here = folder.path();
    std::fs::write(here.join("notes.txt"), "not weights").expect("there is room");
    assert!(refused(here, &["new", "--teacher", "notes.txt"]).contains("cannot read `notes.txt`"));
    assert!(refused(here, &["new", "--teacher", "missing.pth"]).contains("there is no such file"));
    assert!(refused(here, &["inspect", "missing.pth"]).contains("cannot read `missing.pth`: there is no such file"));
    for arguments in [&["new", "--teacher"][..], &["inspect"]] {
        let address = refused(here, &[arguments, &["https://huggingface.co/org/net/blob/main/net.pth"]].concat());
        let fetch = "curl -L -o net.pth 'https://huggingface.co/org/net/resolve/main/net.pth'";
        assert!(address.contains("zskt reads files") && address.contains(fetch), "{address}");
    }
    assert!(refused(here, &["inspect", "Missing"]).contains("there is no plugin `Missing`"));
    let nothing = refused(here, &["inspect", "notes.txt"]);
    assert!(nothing.contains("cannot read weights") && nothing.contains("no dataset plugin reads"), "{nothing}");
    assert!(refused(here, &["export", ".", "--format", "pth"]).contains("no checkpoint in ."));
    let teacher = fixtures().join("kuangliu/ckpt.pth");
    let teacher = teacher.to_str().expect("UTF-8");
    let student = refused(here, &["new", "--teacher", teacher, "--student", "WideResNet(depth: 17, widen_factor: 1)"]);
    assert!(
        student.contains("expected 6·n + 4 layers") && student.contains("the nearest depths are 16 and 22"),
        "{student}"
    );
}
