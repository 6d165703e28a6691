//! The whole reference of the command line, as `--help` prints it.

use clap::CommandFactory;
use keyledger::cli::Cli;

#[test]
fn the_reference_is_as_it_was() {
    let mut reference = String::new();
    let mut cli = Cli::command();
    cli.build();
    describe(&mut cli, &mut reference);
    insta::assert_snapshot!("reference", reference);
}

fn describe(command: &mut clap::Command, reference: &mut String) {
    let name = command.get_bin_name().unwrap_or("keyledger").to_owned();
    let help = command.render_long_help();
    reference.push_str(&format!("$ {name} --help\n{help}\n"));
    for child in command.get_subcommands_mut() {
        if child.get_name() != "help" {
            describe(child, reference);
        }
    }
}
