use super::*;
use crate::consume::tests::archived;
use crate::testing::{Node, session, whole};
use object_store::{ObjectStore, memory::InMemory};
use std::sync::{Arc, Mutex};

/// The pause between two looks; time is paused, so it lasts only until every follower waits for more.
const POLL: Duration = Duration::from_millis(100);

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn events(&self) -> Vec<Event> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn it_shows_what_is_there_and_follows() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (first, second) = (whole(session(1), 2), whole(session(2), 2));
        let mut node = Node::new("gate-1");
        let batches = [node.cut(&first, 3), node.cut(&second, 3)].concat();
        archived(&store, batches[..3].to_vec()).await;
        let reader = Reader::new(store.clone());
        let mut now = Shared::default();
        tail(&reader, &Options::default(), &mut now, &Shutdown::new()).await.unwrap();
        assert_eq!(now.events(), first);

        let (mut all, mut late, shutdown) = (Shared::default(), Shared::default(), Shutdown::new());
        let (seen, seen_late) = (all.clone(), late.clone());
        let follow = Options { follow: true, ..Options::default() };
        let from_now = Options { from_start: false, ..follow.clone() };
        let more = async {
            tokio::time::sleep(POLL).await;
            archived(&store, batches).await;
            while seen.events().len() < first.len() + second.len() || seen_late.events().len() < second.len() {
                tokio::time::sleep(POLL).await;
            }
            shutdown.trigger();
        };
        let (one, two, ()) = tokio::join!(
            tail(&reader, &follow, &mut all, &shutdown),
            tail(&reader, &from_now, &mut late, &shutdown),
            more
        );
        one.and(two).unwrap();
        assert_eq!(all.events(), [first, second.clone()].concat());
        assert_eq!(late.events(), second);

        let mut none = Shared::default();
        let filter = Filter { identity: Some("nobody".into()), ..Filter::default() };
        tail(&reader, &Options { filter, ..Options::default() }, &mut none, &Shutdown::new()).await.unwrap();
        assert!(none.events().is_empty());
    });
}
