//! What the benchmarks of several sizes are called with: `[tasks…] [--runs N]`.

/// The numbers of tasks, these unless any is given, and how many runs there are of each, nine unless it is said.
pub(crate) fn sizes_and_runs(sizes: &[u64]) -> (Vec<u64>, usize) {
    let (mut given, mut runs) = (Vec::new(), 9);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--runs" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                runs = number.expect("--runs takes a number");
            }
            tasks => given.push(
                tasks
                    .replace(['_', ','], "")
                    .parse()
                    .expect("a number of tasks"),
            ),
        }
    }
    if given.is_empty() {
        given = sizes.to_vec();
    }
    (given, runs)
}

/// A number with its digits in groups of three.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<_> = groups.map(String::from_utf8_lossy).collect();
    groups.join(",")
}
