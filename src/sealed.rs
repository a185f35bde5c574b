//! Helper traits of the public surface are subtraits of these: only this crate can implement them, so that they may change.

/// Of [`Element`](crate::Element).
pub trait Element {}

/// Of [`NestedArray`](crate::NestedArray).
pub trait NestedArray {}

/// Of [`FillValue`](crate::FillValue).
pub trait FillValue {}

/// Of [`IntoOperand`](crate::IntoOperand).
pub trait IntoOperand {}

/// Of [`IntoResult`](crate::IntoResult).
pub trait IntoResult {}

/// Of [`Watched`](crate::Watched).
pub trait Watched {}

/// Of [`WithRespectTo`](crate::WithRespectTo).
pub trait WithRespectTo {}

/// Of [`HostValue`](crate::data::HostValue).
pub trait HostValue {}

/// Of [`IntoSample`](crate::data::IntoSample).
pub trait IntoSample {}

/// Of [`IntoSampleShape`](crate::nn::IntoSampleShape).
pub trait IntoSampleShape {}

/// Of [`FeatureBatches`](crate::nn::FeatureBatches).
pub trait FeatureBatches {}

/// Of [`ResultExt`](crate::ResultExt).
pub trait ResultExt {}

/// Of [`Numbers`](crate::plot::Numbers).
#[cfg(feature = "plot")]
pub trait Numbers {}
