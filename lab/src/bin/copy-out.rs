//! Reads the same rows by psql, diesel-copy-out, tokio-postgres and Diesel's `load_iter`, in turns.
//!
//! Each connects, reads all, and keeps nothing. `load_iter` makes values of the rows and no CSV, which would cost it more.
//! The arguments are the number of rows and of rounds.

#[path = "../../../crates/diesel-copy-out/tests/real_server/cluster.rs"]
mod cluster;

use std::error::Error;
use std::io::{self, Read};
use std::pin::pin;
use std::process::{Command, Stdio};
use std::time::Instant;

use cluster::Cluster;
use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;
use diesel_copy_out::{CopyConnection, CopyOutDsl, Options};
use futures_util::StreamExt;

diesel::table! {
    tasks (id) {
        id -> BigInt,
        title -> Text,
        done -> Bool,
    }
}

/// A run; it returns how many bytes came, or rows, if it makes no bytes.
type Run = fn(&str) -> Result<u64, Box<dyn Error>>;

const CONTENDERS: [(&str, Run); 6] = [
    ("psql", psql),
    ("diesel-copy-out, rows", rows),
    ("diesel-copy-out, `BufRead`", file),
    ("diesel-copy-out, `Stream`", stream),
    ("tokio-postgres, `copy_out`", tokio_postgres),
    ("Diesel, `load_iter`", load_iter),
];

fn sql() -> Result<String, diesel_copy_out::Error> {
    Ok(format!(
        "copy ({}) to stdout with (format csv)",
        tasks::table.order(tasks::id).literal_sql()?
    ))
}

fn psql(url: &str) -> Result<u64, Box<dyn Error>> {
    let mut psql = Command::new("psql");
    psql.args(["-qX", "-d", url, "-c", &sql()?]);
    let mut psql = psql.stdout(Stdio::piped()).spawn()?;
    let mut bytes = 0;
    if let Some(mut output) = psql.stdout.take() {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match output.read(&mut buffer)? {
                0 => break,
                length => bytes += length as u64,
            }
        }
    }
    let status = psql.wait()?;
    status
        .success()
        .then_some(bytes)
        .ok_or("psql failed".into())
}

fn rows(url: &str) -> Result<u64, Box<dyn Error>> {
    let mut connection = CopyConnection::establish(url)?;
    let query = tasks::table.order(tasks::id);
    let mut copy = query.copy_out(&mut connection, &Options::csv())?;
    let mut bytes = 0;
    while let Some(row) = copy.next_row()? {
        bytes += row.len() as u64;
    }
    copy.finish()?;
    Ok(bytes)
}

fn file(url: &str) -> Result<u64, Box<dyn Error>> {
    let mut connection = CopyConnection::establish(url)?;
    let query = tasks::table.order(tasks::id);
    let mut copy = query.copy_out(&mut connection, &Options::csv())?;
    let bytes = io::copy(&mut copy, &mut io::sink())?;
    copy.finish()?;
    Ok(bytes)
}

fn block_on<T>(
    future: impl Future<Output = Result<T, Box<dyn Error>>>,
) -> Result<T, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(future)
}

fn stream(url: &str) -> Result<u64, Box<dyn Error>> {
    let connection = Box::new(CopyConnection::establish(url)?);
    let query = tasks::table.order(tasks::id);
    block_on(async {
        let mut stream = query
            .copy_out_stream(connection, Options::csv())
            .await?;
        let mut bytes = 0;
        while let Some(chunk) = stream.next().await {
            bytes += chunk?.len() as u64;
        }
        Ok(bytes)
    })
}

fn tokio_postgres(url: &str) -> Result<u64, Box<dyn Error>> {
    block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        let connection = tokio::spawn(connection);
        let mut stream = pin!(client.copy_out(&sql()?).await?);
        let mut bytes = 0;
        while let Some(chunk) = stream.next().await {
            bytes += chunk?.len() as u64;
        }
        drop(client);
        connection.await??;
        Ok(bytes)
    })
}

fn load_iter(url: &str) -> Result<u64, Box<dyn Error>> {
    let mut connection = <PgConnection as diesel::Connection>::establish(url)?;
    let query = tasks::table.order(tasks::id);
    let mut rows = 0;
    for row in query.load_iter::<(i64, String, bool), PgRowByRowLoadingMode>(&mut connection)? {
        row?;
        rows += 1;
    }
    Ok(rows)
}

fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    (
        sorted[sorted.len() / 2],
        sorted[0],
        sorted[sorted.len() - 1],
    )
}

fn main() -> Result<(), Box<dyn Error>> {
    let numbers: Vec<u64> = std::env::args()
        .skip(1)
        .map(|text| text.parse())
        .collect::<Result<_, _>>()?;
    let count = numbers.first().copied().unwrap_or(1_000_000);
    let rounds = numbers.get(1).copied().unwrap_or(9).max(1);
    let cluster = Cluster::start();
    let url = cluster.url();
    let mut connection = CopyConnection::establish(&url)?;
    connection.execute(&format!(
        "create table tasks as
             select n as id, 'Task ' || n || ', with a title of a usual length' as title, n % 3 = 0 as done
             from generate_series(1::bigint, {count}) n;
         alter table tasks add primary key (id)"
    ))?;
    connection.execute("vacuum (analyze) tasks")?;
    drop(connection);

    let mut seconds = vec![Vec::new(); CONTENDERS.len()];
    let expected = psql(&url)?;
    // The first round is for warming up.
    for round in 0..=rounds {
        for (index, (name, run)) in CONTENDERS.iter().enumerate() {
            let start = Instant::now();
            let came = run(&url)?;
            let took = start.elapsed().as_secs_f64();
            if came != expected && came != count {
                return Err(format!("{name}: {came}, not the {expected} bytes of psql").into());
            }
            if round > 0 {
                seconds[index].push(took);
            }
        }
    }

    println!(
        "{count} rows, {expected} bytes, {rounds} rounds, {}\n",
        load().trim()
    );
    println!("| | seconds | of psql's time |\n|---|---:|---:|");
    for (index, (name, _)) in CONTENDERS.iter().enumerate() {
        let (median, least, most) = spread(&seconds[index]);
        let ratios: Vec<f64> = seconds[index]
            .iter()
            .zip(&seconds[0])
            .map(|(own, psql)| own / psql)
            .collect();
        let (ratio, low, high) = spread(&ratios);
        println!(
            "| {name} | {median:.3} ({least:.3}…{most:.3}) | {ratio:.2} ({low:.2}…{high:.2}) |"
        );
    }
    Ok(())
}

/// Returns how busy the machine is, to go with the figures.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    format!("{cores} cores, load {load}")
}
