"""Step 4 of 9: the words of EPCIS 2.0 and CBV 2.0 as JSON spells them: bare words, not URNs.

Source: EPCIS 2.0 JSON schema 2.0.1, definitions of the same names; CBV 2.0, section 7.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


EVENT_TYPES = (
    "ObjectEvent",
    "AggregationEvent",
    "TransactionEvent",
    "TransformationEvent",
    "AssociationEvent",
)
ACTIONS = frozenset(("ADD", "OBSERVE", "DELETE"))

BIZ_STEPS = _words(
    """
    accepting arriving assembling collecting commissioning consigning creating_class_instance
    cycle_counting decommissioning departing destroying disassembling dispensing encoding
    entering_exiting holding inspecting installing killing loading other packing picking receiving
    removing repackaging repairing replacing reserving retail_selling sampling sensor_reporting
    shipping staging_outbound stock_taking stocking storing transporting unloading unpacking
    void_shipping
    """
)
DISPOSITIONS = _words(
    """
    active available completeness_inferred completeness_verified conformant container_closed
    container_open damaged destroyed dispensed disposed encoded expired in_progress in_transit
    inactive mismatch_class mismatch_instance mismatch_quantity needs_replacement no_pedigree_match
    non_conformant non_sellable_other partially_dispensed recalled reserved retail_sold returned
    sellable_accessible sellable_not_accessible stolen unavailable unknown
    """
)
BIZ_TRANSACTION_TYPES = _words(
    """
    bol cert desadv inv pedigree po poc prodorder recadv rma testprd testres upevt
    """
)
SOURCE_DEST_TYPES = frozenset(("owning_party", "possessing_party", "location"))
ERROR_REASONS = frozenset(("did_not_occur", "incorrect_data"))
SENSOR_ALERTS = frozenset(("ALARM_CONDITION", "ERROR_CONDITION"))
COMPONENTS = _words(
    """
    x y z axial_distance azimuth height spherical_radius polar_angle elevation_angle easting
    northing latitude longitude altitude
    """
)
MEASUREMENT_TYPES = _words(
    """
    AbsoluteHumidity AbsorbedDose AbsorbedDoseRate Acceleration Altitude AmountOfSubstance
    AmountOfSubstancePerUnitVolume Angle AngularAcceleration AngularMomentum AngularVelocity Area
    Capacitance Conductance Conductivity Count Density Dimensionless DoseEquivalent
    DoseEquivalentRate DynamicViscosity ElectricCharge ElectricCurrent ElectricCurrentDensity
    ElectricFieldStrength Energy Exposure Force Frequency Illuminance Inductance Irradiance
    KinematicViscosity Length LinearMomentum Luminance LuminousFlux LuminousIntensity MagneticFlux
    MagneticFluxDensity MagneticVectorPotential Mass MassConcentration MassFlowRate MassPerAreaTime
    MemoryCapacity MolalityOfSolute MolarEnergy MolarMass MolarVolume Power Pressure RadiantFlux
    RadiantIntensity Radioactivity RelativeHumidity Resistance Resistivity SolidAngle SpecificVolume
    Speed SurfaceDensity SurfaceTension Temperature Time Torque Voltage Volume VolumeFlowRate
    VolumeFraction VolumetricFlux Wavenumber
    """
)

# Fields each event type may have beyond those that every event may have and extensions.
COMMON_FIELDS = _words(
    """
    @context type eventTime recordTime eventTimeZoneOffset eventID certificationInfo
    errorDeclaration
    """
)
_SHARED = """bizStep disposition persistentDisposition readPoint bizLocation bizTransactionList sourceList
    destinationList sensorElementList"""
EVENT_FIELDS = {
    "ObjectEvent": _words(
        f"""
    action epcList quantityList ilmd {_SHARED}
    """
    ),
    "AggregationEvent": _words(
        f"""
    action parentID childEPCs childQuantityList {_SHARED}
    """
    ),
    "TransactionEvent": _words(
        f"""
    action parentID epcList quantityList {_SHARED}
    """
    ),
    "TransformationEvent": _words(
        f"""
    inputEPCList inputQuantityList outputEPCList outputQuantityList transformationID ilmd {_SHARED}
    """
    ),
    "AssociationEvent": _words(
        f"""
    action parentID childEPCs childQuantityList {_SHARED}
    """
    ),
}

# Prefixes that GS1's own context declares, so nobody else has to.
STANDARD_PREFIXES = frozenset(("epcis", "cbv", "cbvmda", "gs1", "rdfs", "owl", "xsd", "dcterms"))
CONTEXT_URL_STEM = "https://ref.gs1.org/standards/epcis/"
