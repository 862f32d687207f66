//! Names of a device's functions, for example of the gangs of a switch (contract tuya §3.8, §3.16).

use super::feed::News;
use super::{Cloud, Device, DeviceId, DeviceState, Error, Requester, Result};

/// The name of one function of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionName {
    /// The function's code.
    pub code: String,
    /// The name.
    pub name: String,
}

impl Cloud {
    /// Names a function of a device.
    ///
    /// # Errors
    /// [`Error::NotVisible`], also for a device that is [`super::Device::held_elsewhere`]; [`Error::NotAllowed`] for a
    /// user who does not own the device; [`Error::FunctionNotSupported`] for a code that the product does not have,
    /// which also limits the number of names.
    pub async fn name_function(&self, requester: &impl Requester, id: &DeviceId, code: &str, name: &str) -> Result<()> {
        let device = self.owned_device(requester, id).await?;
        if device.product.function(code).is_none() {
            return Err(Error::FunctionNotSupported(code.to_owned()));
        }
        self.registry.name_function(&device, code, name, self.now_ms()).await?;
        self.publish(device.no, News::FunctionNamed(code.to_owned(), name.to_owned()));
        Ok(())
    }

    /// The names of the functions, in the order of their codes; empty for a device that is
    /// [`super::Device::held_elsewhere`].
    ///
    /// # Errors
    /// [`Error::NotVisible`].
    pub async fn function_names(&self, requester: &impl Requester, id: &DeviceId) -> Result<Vec<FunctionName>> {
        let device = self.visible_device(requester, id).await?;
        if device.held_elsewhere {
            return Ok(Vec::new());
        }
        Ok(self.registry.function_names(&[&device]).await?.pop().unwrap_or_default())
    }

    /// The names of the functions of each of these devices, which the requester sees, as from [`Cloud::function_names`].
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn function_names_of(&self, states: &[DeviceState]) -> Result<Vec<Vec<FunctionName>>> {
        let devices: Vec<&Device> = states.iter().map(|state| &*state.device).collect();
        let names = self.registry.function_names(&devices).await?;
        let shown = |(device, names): (&Device, _)| if device.held_elsewhere { Vec::new() } else { names };
        Ok(devices.into_iter().zip(names).map(shown).collect())
    }
}
