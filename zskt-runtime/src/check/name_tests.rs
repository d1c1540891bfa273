//! Two plugins of one name: each can be used, by its full name.

use zskt_api::{Diagnostic, PluginRegistration, Registry, inventory};

use super::prove;
use super::tests::pipeline;
use crate::pipeline::Sources;
use crate::plan::Plan;

macro_rules! twin {
    ($module:ident, $parameter:ident, $crate_name:literal) => {
        mod $module {
            use zskt_api::{Architecture, Builder, CheckError, Classifier, ClassifierShape, ImageShape, OutputShape};

            zskt_api::params! {
                /// One of two plugins of this name.
                pub struct Twin {
                    /// The parameter that the other does not have.
                    pub $parameter: usize = 1,
                }
            }

            impl ClassifierShape for Twin {
                fn output_shape(&self, _: ImageShape) -> Result<OutputShape, CheckError> {
                    Ok(OutputShape { classes: 10, activations: Vec::new() })
                }
                fn classes(&self) -> usize {
                    10
                }
            }

            impl Architecture for Twin {
                fn build(&self, _: &Builder) -> zskt_api::Result<Box<dyn Classifier>> {
                    Ok(Box::new(crate::check::tests::Idle))
                }
            }
        }

        inventory::submit! { PluginRegistration::architecture::<$module::Twin>($crate_name, "1.0.0") }
    };
}
twin!(first, height, "first-nets");
twin!(second, width, "second-nets");

fn proof(text: &str, sets: &[&str]) -> Result<Plan, Vec<Diagnostic>> {
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    prove(&Sources::new("names.ron", text, &sets), Registry::get().expect("full names are unique"), false)
}

fn refused(student: &str) -> (Diagnostic, String) {
    let text = pipeline(student);
    let problem = proof(&text, &[]).err().and_then(|problems| problems.into_iter().next()).expect("it is refused");
    let place = problem.span.map(|span| text[span.start..span.end].to_owned());
    (problem, place.unwrap_or_default())
}

#[test]
fn a_short_name_that_two_plugins_have_is_refused_where_it_is_used_with_the_names_to_write() {
    let message = "2 plugins are called `Twin`: `first_nets::Twin`, `second_nets::Twin`";
    let (problem, place) = refused("Twin(width: 3)");
    assert_eq!((problem.message.as_str(), place.as_str()), (message, "Twin"));
    let (problem, place) = refused("Committee(members: [LeNet(size: 16), Twin])");
    assert_eq!((problem.message.as_str(), place.as_str()), (message, "Twin"));

    let (problem, place) = refused("second_nets::Twinn()");
    assert_eq!((&*problem.label, place.as_str()), ("did you mean `second_nets::Twin`?", "second_nets::Twinn"));
    let (problem, _) = refused("third_nets::Other()");
    assert!(problem.help.is_some_and(|help| help.contains("no crate `third_nets` is loaded")));
    let (problem, place) = refused("second-nets::Twin()");
    assert_eq!((&*problem.label, place.as_str()), ("expected `second_nets`", "second-nets"));
    let (problem, _) = refused("second_nets:Twin()");
    assert!(problem.help.is_some_and(|help| help.contains("`second_nets::Twin`")));
}

#[test]
fn a_full_name_is_understood_wherever_a_plugin_is_named() {
    let plugins = |student: &str, sets: &[&str]| -> Vec<String> {
        let plan = proof(&pipeline(student), sets).unwrap_or_else(|problems| panic!("{problems:?}"));
        let node = plan.nodes.iter().find(|node| node.name == "student").expect("it is there");
        node.plugins.iter().map(|plugin| plugin.full_name()).collect()
    };
    let lenet = "zskt_architectures::LeNet";
    assert_eq!(plugins("first_nets::Twin(height: 3)", &[]), ["first_nets::Twin"]);
    assert_eq!(plugins("zskt_architectures::LeNet(size: 16)", &[]), [lenet]);
    let nested = "Committee(members: [second_nets::Twin(width: 3)], last: LeNet(size: 16))";
    assert_eq!(plugins(nested, &[]), ["zskt_test::Committee", "second_nets::Twin", lenet]);
    let set = plugins(nested, &["student.last=first_nets::Twin(height: 2)", "student.last.height=3"]);
    assert_eq!(set[2], "first_nets::Twin");
    assert_eq!(plugins("LeNet(size: 16)", &["student=second_nets::Twin"]), ["second_nets::Twin"]);
    let problem = proof(&pipeline("first_nets::Twin()"), &["student.width=2"]).err().expect("it is the other's");
    assert_eq!(problem[0].message, "`first_nets::Twin` has no parameter `width`");
}

#[test]
fn a_resolved_pipeline_names_every_plugin_in_full_and_reads_as_the_same() {
    let text = pipeline("Committee(members: [second_nets::Twin(width: 3)], last: LeNet(size: 16))");
    let plan = proof(&text, &[]).unwrap_or_else(|problems| panic!("{problems:?}"));
    let student = "zskt_test::Committee(\n            members: [second_nets::Twin(width: 3)],\n            last: zskt_architectures::LeNet(";
    assert!(plan.resolved.contains(student), "{}", plan.resolved);
    assert!(plan.resolved.contains("optimizer: zskt_optimizers::Adam("), "{}", plan.resolved);
    let again = proof(&plan.resolved, &[]).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert_eq!(again.resolved, plan.resolved);
}
