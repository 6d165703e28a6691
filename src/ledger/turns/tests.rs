//! Turns are fair, bounded, and given back.

use std::sync::mpsc;

use ulid::Ulid;

use super::*;

fn tenant(n: u128) -> Tenant {
    Some(OrganizationId(Ulid(n)))
}

/// Work that goes on until it is told to stop, or is interrupted.
fn endless(turn: &mut Turn, stop: &AtomicBool) -> Result<(), Interrupted> {
    while !stop.load(Ordering::Relaxed) {
        turn.go_on()?;
    }
    Ok(())
}

#[tokio::test]
async fn one_organization_with_all_it_may_have_waiting_keeps_no_other_from_its_turn() {
    let turns = Turns::default();
    let stop = Arc::new(AtomicBool::new(false));
    let many: Vec<_> = (0..WAITING_EACH_MAX)
        .map(|_| {
            let (turns, stop) = (turns.clone(), Arc::clone(&stop));
            tokio::spawn(
                async move { turns.run(tenant(1), move |turn| endless(turn, &stop)).await },
            )
        })
        .collect();
    while turns.lock().line(tenant(1)).begun < BEGUN_EACH_MAX {
        tokio::task::yield_now().await;
    }
    for n in 2..40 {
        let done = turns.run(tenant(n), |turn| turn.go_on()).await;
        assert_eq!(done.unwrap(), Ok(()));
        let lines = turns.lock();
        let begun = lines.by_tenant.get(&tenant(1)).map(|line| line.begun);
        assert_eq!(begun, Some(BEGUN_EACH_MAX));
    }
    // What is beyond the bound is refused, to this organization alone.
    let places = std::iter::from_fn(|| turns.place_to_wait(tenant(1)).ok());
    let beyond: Vec<_> = places.collect();
    assert_eq!(beyond.len(), BEGUN_EACH_MAX);
    let refused = turns.run(tenant(1), |_| ()).await;
    assert!(matches!(refused, Err(NoTurn::Busy)));
    // What is bounded by something else takes no place.
    drop(turns.line_up(tenant(1)));
    stop.store(true, Ordering::Relaxed);
    drop(beyond);
    for work in many {
        assert_eq!(work.await.unwrap().unwrap(), Ok(()));
    }
    let last = turns.run(tenant(1), |_| ()).await;
    assert!(last.is_ok());
    turns.serve();
    let lines = turns.lock();
    assert_eq!((lines.running, lines.begun), (0, 0));
    assert!(lines.by_tenant.is_empty());
}

#[tokio::test]
async fn work_stops_when_its_caller_is_gone() {
    let turns = Turns::default();
    let (begun, has_begun) = oneshot::channel();
    let (ended, outcome) = mpsc::channel();
    let work = turns.run(tenant(1), move |turn| {
        begun.send(()).unwrap();
        let never = AtomicBool::new(false);
        ended.send(endless(turn, &never)).unwrap();
    });
    tokio::select! {
        _ = work => panic!("it does not end by itself"),
        began = has_begun => began.unwrap(),
    }
    let outcome = tokio::task::spawn_blocking(move || outcome.recv());
    assert_eq!(outcome.await.unwrap(), Ok(Err(Interrupted::Abandoned)));
}

#[test]
fn work_that_takes_too_long_is_given_up() {
    let mut turn = Turn::within(Duration::ZERO);
    assert_eq!(turn.go_on(), Err(Interrupted::TooLong));
    assert_eq!(Turn::alone().go_on(), Ok(()));
}

#[tokio::test]
async fn those_who_have_gone_before_their_turn_leave_nothing_behind() {
    let turns = Turns::default();
    let held = turns.line_up(tenant(1)).await.unwrap();
    let gone = (turns.place_to_wait(tenant(1)), turns.line_up(tenant(1)));
    drop(gone);
    let next = turns.line_up(tenant(1));
    drop(held);
    drop(next.await.unwrap());
    turns.serve();
    assert!(turns.lock().by_tenant.is_empty());
}

#[test]
fn thirty_organizations_that_wait_with_all_they_may_leave_places() {
    let turns = Turns::default();
    let mut held = Vec::new();
    for n in 0..30 {
        let places = std::iter::from_fn(|| turns.place_to_wait(tenant(n)).ok());
        let places: Vec<_> = places.collect();
        assert!(!places.is_empty(), "{n}");
        held.extend(places);
    }
    assert!(held.len() <= WAITING_MAX);
    drop(held);
    assert_eq!(turns.lock().waiting, 0);
}

#[test]
fn however_many_organizations_have_begun_all_they_may_another_begins() {
    let mut lines = Lines::default();
    let mut begins = |n| {
        let (waiting, _granted) = oneshot::channel();
        lines.line(tenant(n)).new.push_back(waiting);
        let begun = lines.next().is_some();
        let line = lines.line(tenant(n));
        line.new.clear();
        if begun {
            // It pauses, and has not ended.
            line.running -= 1;
            lines.running -= 1;
        }
        begun
    };
    let begun: Vec<_> = (0..22)
        .map(|n| (0..10).take_while(|_| begins(n)).count())
        .collect();
    let all_they_may = [4; 13].into_iter().chain([3, 2, 2, 1, 1, 1, 1, 1, 0]);
    assert_eq!(begun, all_they_may.collect::<Vec<_>>());
}

#[tokio::test]
async fn reads_have_threads_of_their_own_and_a_lower_priority() {
    let turns = Turns::default();
    let name = || std::thread::current().name().map(str::to_owned);
    let seen = move |_: &mut Turn| (name(), rustix::process::getpriority_process(None));
    let (name, priority) = turns.run(tenant(1), seen).await.unwrap();
    assert_eq!(name.as_deref(), Some("past-reader"));
    let usual = rustix::process::getpriority_process(None).unwrap();
    assert!(!cfg!(target_os = "linux") || priority.unwrap() > usual);
}
