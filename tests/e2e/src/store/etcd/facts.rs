//! What the store takes for granted about etcd, asked of etcd itself with the bare client.

use anyhow::{Context, Result, ensure};
use etcd_client::{Client, Compare, CompareOp, Error, Txn, TxnOp};
use libtest_mimic::Trial;
use ocelot_e2e::etcd::Cluster;
use ocelot_e2e::runner::trial;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("etcd::facts::nested_operations_count_with_the_outer_ones_and_not_with_each_other", limits),
        trial("etcd::facts::a_key_may_not_be_put_by_two_nested_transactions", twice),
        trial("etcd::facts::every_compare_is_evaluated_before_anything_is_written", before),
    ]
}

fn puts(txn: usize, count: usize) -> TxnOp {
    let puts: Vec<_> = (0..count).map(|key| TxnOp::put(format!("/f/{txn}/{key}"), "x", None)).collect();
    TxnOp::txn(Txn::new().and_then(puts))
}

fn refusal(answer: Result<etcd_client::TxnResponse, Error>) -> Result<String> {
    match answer {
        Err(Error::GRpcStatus(status)) => Ok(status.message().to_owned()),
        other => anyhow::bail!("{other:?}"),
    }
}

async fn client(cluster: &Cluster) -> Result<Client> {
    cluster.bare(0).await
}

async fn limits() -> Result<()> {
    let cluster = Cluster::one().await?;
    let mut client = client(&cluster).await?;
    let nested: Vec<_> = (0..48).map(|txn| puts(txn, 80)).collect();
    ensure!(client.txn(Txn::new().and_then(nested)).await?.succeeded());
    let nested: Vec<_> = (0..48).map(|txn| puts(txn, 81)).collect();
    let refusal = refusal(client.txn(Txn::new().and_then(nested)).await)?;
    ensure!(refusal.contains("too many operations"), "{refusal}");
    Ok(())
}

async fn twice() -> Result<()> {
    let cluster = Cluster::one().await?;
    let mut client = client(&cluster).await?;
    let refusal = refusal(client.txn(Txn::new().and_then([puts(1, 1), puts(1, 1)])).await)?;
    ensure!(refusal.contains("duplicate key"), "{refusal}");
    Ok(())
}

async fn before() -> Result<()> {
    let cluster = Cluster::one().await?;
    let mut client = client(&cluster).await?;
    let if_absent = Txn::new()
        .when([Compare::create_revision("/f/1/0", CompareOp::Equal, 0)])
        .and_then([TxnOp::put("/f/seen", "absent", None)]);
    client.txn(Txn::new().and_then([puts(1, 1), TxnOp::txn(if_absent)])).await?;
    let seen = client.get("/f/seen", None).await?;
    let seen = seen.kvs().first().context("the second saw what the first had written")?;
    ensure!(seen.value() == b"absent");
    Ok(())
}
