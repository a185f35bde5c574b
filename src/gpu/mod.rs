//! The GPU backend.

pub mod kernels;

use crate::cpu::Array;
use crate::device::{Device, DeviceInfo, Stats};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use std::sync::Arc;

pub(crate) const ADAPTER_VARIABLE: &str = "WGRAD_ADAPTER";
#[derive(Clone, Debug)]
pub(crate) struct GpuArray;
pub(crate) struct Gpu;
fn no<T>() -> Result<T> { Err(Error::NoAdapter("no gpu yet".into())) }
pub(crate) fn default_info() -> Result<DeviceInfo> { no() }
pub(crate) fn by_index(_: usize) -> Result<Device> { no() }
pub(crate) fn by_name(_: &str) -> Result<Device> { no() }
pub(crate) fn list() -> Vec<DeviceInfo> { vec![] }
pub(crate) fn info(_: Device) -> Result<DeviceInfo> { no() }
pub(crate) fn stats(_: Device) -> Result<Stats> { no() }
pub(crate) fn synchronize(_: Device) -> Result<()> { no() }
pub(crate) fn context(_: Device) -> Result<Arc<Gpu>> { no() }
pub(crate) fn upload(_: Device, _: &Array) -> Result<GpuArray> { no() }
pub(crate) async fn download(_: &Tensor) -> Result<Array> { no() }
pub(crate) fn run(_: Device, _: &[&Tensor]) -> Result<()> { no() }
