//! The datastore of NBCRS on disk: one safetensors file.

use super::nbcrs::Datastore;
use crate::artifact;
use crate::dataset::Items;
use crate::error::{Error, Result};
use crate::math::Matrix;
use crate::tensors::{Tensor, read_tensors, write_tensors};
use std::path::Path;

const KIND: &str = "nbcrs datastore";

fn catalogue(items: &Items) -> String {
    artifact::content_hash((0..items.len()).map(|i| items.id(i).as_bytes()))
}

impl Datastore {
    /// Writes post rows, their mentions, k, the embedder's name and a fingerprint of the catalogue.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Io`]; [`crate::ErrorKind::Invalid`] when `items` is not its catalogue.
    pub fn save(&self, path: &Path, items: &Items) -> Result<()> {
        if items.len() != self.items {
            return Err(Error::invalid(format!(
                "nbcrs: {} items in the catalogue, {} in the datastore",
                items.len(),
                self.items
            )));
        }
        let mut ends = Vec::with_capacity(self.mentions.len());
        let mut flat: Vec<u32> = Vec::new();
        for list in &self.mentions {
            flat.extend(list);
            let end = u32::try_from(flat.len())
                .map_err(|_| Error::unsupported("nbcrs: over four thousand million mentions"))?;
            ends.push(end);
        }
        let metadata = [
            ("embedder", self.embedder.clone()),
            ("items", self.items.to_string()),
            ("catalogue", catalogue(items)),
            ("neighbours", self.k.to_string()),
        ];
        let tensors = [
            ("rows", Tensor::F32(vec![self.rows.rows(), self.rows.dim()], self.rows.data())),
            ("groups", Tensor::U32(vec![self.groups.len()], self.groups.clone())),
            ("mention_ends", Tensor::U32(vec![ends.len()], ends)),
            ("mentions", Tensor::U32(vec![flat.len()], flat)),
        ];
        write_tensors(path, KIND, &metadata, &tensors)
    }

    /// Reads a datastore of this catalogue. The embedder's name is compared when it is put to use.
    ///
    /// # Errors
    /// [`crate::ErrorKind::NotFound`]; [`crate::ErrorKind::Format`] for a file that does not hold together or was made for
    /// another catalogue.
    pub fn load(path: &Path, items: &Items) -> Result<Datastore> {
        let (metadata, mut tensors) = read_tensors(path, KIND)?;
        let bad = |cause: &str| Error::format(path, 0, format!("{cause}; build the datastore again"));
        let text = |key: &str| metadata.get(key).ok_or_else(|| bad(&format!("no {key}")));
        if *text("catalogue")? != catalogue(items) {
            return Err(bad("made for another catalogue"));
        }
        let k: usize = text("neighbours")?.parse().map_err(|_| bad("neighbours is no number"))?;
        let Some(Tensor::F32(shape, rows)) = tensors.remove("rows") else { return Err(bad("no rows")) };
        if rows.iter().any(|v| !v.is_finite()) {
            return Err(bad("rows hold NaN"));
        }
        let mut take = |name: &str| match tensors.remove(name) {
            Some(Tensor::U32(_, values)) => Ok(values),
            Some(Tensor::F32(..) | Tensor::U8(_)) | None => Err(bad(&format!("no {name}"))),
        };
        let (groups, ends, flat) = (take("groups")?, take("mention_ends")?, take("mentions")?);
        let [count, dim] = shape[..] else { return Err(bad("rows are no matrix")) };
        let rows = Matrix::from_vec(count, dim, rows)?;
        let mut start = 0;
        let mut mentions = Vec::with_capacity(ends.len());
        for end in ends {
            let list = flat.get(start..end as usize).ok_or_else(|| bad("mention_ends go backwards or too far"))?;
            mentions.push(list.to_vec());
            start = end as usize;
        }
        let store = Datastore::new(&rows, mentions, groups, items.len(), text("embedder")?);
        let mut store = store.map_err(|e| bad(e.message()))?;
        store.k = k.max(1);
        Ok(store)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{BagOfWords, movies};
    use super::super::{Nbcrs, Posts, QueryWindow, Speakers};
    use super::*;
    use crate::embed::Embedder;
    use crate::run::Run;
    use std::sync::Arc;

    struct Other;
    impl Embedder for Other {
        fn dim(&self) -> usize {
            BagOfWords.dim()
        }
        fn name(&self) -> String {
            "another".into()
        }
        fn embed(&self, texts: &[&str], lenient: bool, run: &Run) -> Result<Matrix> {
            BagOfWords.embed(texts, lenient, run)
        }
    }

    #[test]
    fn a_datastore_comes_back_whole_and_only_for_its_catalogue_and_embedder() {
        let dataset = movies();
        let run = Run::new(1).unwrap();
        let mut posts = Posts::default();
        posts.push("space", vec![3, 1], 0);
        posts.push("nothing is named here", Vec::new(), 1);
        posts.push("ghosts", vec![0], 2);
        let store = Datastore::from_posts(posts, dataset.items.len(), &BagOfWords, &run).unwrap();
        assert_eq!(store.posts(), 2);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nbcrs.safetensors");
        store.save(&path, &dataset.items).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(Datastore::load(&path, &dataset.items).unwrap(), store);
        store.save(&path, &dataset.items).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);

        let mut grown = movies();
        grown.add_item(&crate::dataset::Item { id: "new".into(), ..Default::default() }).unwrap();
        assert!(Datastore::load(&path, &grown.items).unwrap_err().message().contains("another catalogue"));
        std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        assert_eq!(Datastore::load(&path, &dataset.items).unwrap_err().kind(), crate::ErrorKind::Format);

        let context = QueryWindow { speakers: Speakers::User, turns: 0, chars: 0 };
        let e = Nbcrs::new("n", store, Arc::new(Other), context).err().unwrap();
        assert!(e.message().contains("this one is another"), "{e}");
    }
}
