//! The functions of a product in the world document.

use std::collections::HashSet;

use super::{WorldFunction, WorldProduct, members, values};
use crate::domain::{Error, FunctionType, Result};

impl WorldProduct {
    /// Adds missing numbers and names of functions, and checks their specifications. A function without a `dp_id` gets
    /// its position in the list, from 1, or the next number that no other function has.
    ///
    /// # Errors
    /// [`Error::Refused`] with product and function.
    pub(super) fn complete_functions(&mut self) -> Result<()> {
        let functions = self.functions.as_deref_mut().unwrap_or_default();
        let mut taken: HashSet<u32> = functions.iter().filter_map(|function| function.dp_id).collect();
        for (place, function) in (1..).zip(functions) {
            let WorldFunction { code, dp_id, kind, values, name, .. } = function;
            let checked = match kind {
                FunctionType::Struct => members::checked(values.take()),
                _ => values::checked(code, *kind, values.take()),
            };
            let refused = |text| Error::Refused(format!("product {:?} function {code:?}: {text}", self.name));
            *values = checked.map_err(refused)?.into();
            name.get_or_insert_with(|| code.clone());
            if dp_id.is_none() {
                let free = (place..=u32::MAX).find(|dp_id| !taken.contains(dp_id)).unwrap_or(u32::MAX);
                taken.insert(free);
                *dp_id = Some(free);
            }
        }
        Ok(())
    }
}
