"""Step 4 of 9: the words of EPCIS 2.0 and CBV 2.0, bare as JSON spells them, and in their other spellings.

Source: EPCIS 2.0 JSON schema 2.0.1, definitions of the same names; CBV 2.0, section 7; EPCIS 2.0 JSON-LD
context for the web addresses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


EVENT_TYPES = (
    "ObjectEvent",
    "AggregationEvent",
    "TransactionEvent",
    "TransformationEvent",
    "AssociationEvent",
)
DOCUMENT_TYPES = ("EPCISDocument", "EPCISQueryDocument")
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


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """One list of words, and how they are spelled where they are not bare.

    spelled   the other spellings, with the word as their one group
    is_whole  whether such a spelling can mean nothing but a word of this list
    """

    what: str
    words: frozenset[str]
    spelled: re.Pattern[str]
    is_whole: bool

    def word(self, text: str) -> str:
        """The bare word where the text is one of the standard, however spelled; else the text as it is."""
        if text in self.words:
            return text
        match = self.spelled.fullmatch(text)
        return match[1] if match is not None and match[1] in self.words else text

    def is_mistaken(self, text: str) -> bool:
        """Whether the text is spelled as a word of this list and there is no such word."""
        match = self.spelled.fullmatch(text) if self.is_whole else None
        return match is not None and match[1] not in self.words


def _of_cbv(what: str, words: frozenset[str], urn: str, web: str) -> Vocabulary:
    address = rf"(?:https?://(?:ref|ns)\.gs1\.org/cbv/|cbv:){web}-"
    either = rf"(?:urn:epcglobal:cbv:{urn}:|{address})" if urn else address
    return Vocabulary(what, words, re.compile(either + "([A-Za-z0-9_]+)"), True)


def _of_web_vocabulary(what: str, words: frozenset[str]) -> Vocabulary:
    # GS1's web vocabulary has thousands of other words under the same address.
    return Vocabulary(
        what, words, re.compile(r"(?:https?://(?:www\.|ref\.)?gs1\.org/voc/|gs1:)([A-Za-z0-9_]+)"), False
    )


BIZ_STEP = _of_cbv("business step", BIZ_STEPS, "bizstep", "BizStep")
DISPOSITION = _of_cbv("disposition", DISPOSITIONS, "disp", "Disp")
BIZ_TRANSACTION_TYPE = _of_cbv("business transaction type", BIZ_TRANSACTION_TYPES, "btt", "BTT")
SOURCE_DEST_TYPE = _of_cbv("source or destination type", SOURCE_DEST_TYPES, "sdt", "SDT")
ERROR_REASON = _of_cbv("error reason", ERROR_REASONS, "er", "ER")
COMPONENT = _of_cbv("component", COMPONENTS, "", "Comp")
MEASUREMENT_TYPE = _of_web_vocabulary("measurement type", MEASUREMENT_TYPES)
SENSOR_ALERT = _of_web_vocabulary("sensor alert", SENSOR_ALERTS)

# What sensor metadata and a sensor report may both say, and what only the latter.
SENSOR_SOURCE_FIELDS = _words("time deviceID deviceMetadata rawData dataProcessingMethod bizRules")
SENSOR_REPORT_FIELDS = SENSOR_SOURCE_FIELDS | _words(
    """
    type exception microorganism chemicalSubstance coordinateReferenceSystem component stringValue
    booleanValue hexBinaryValue uriValue uom value minValue maxValue meanValue sDev percRank percValue
    """
)

# Prefixes that GS1's own context declares, so nobody else has to.
STANDARD_PREFIXES = frozenset(("epcis", "cbv", "cbvmda", "gs1", "rdfs", "owl", "xsd", "dcterms"))
CONTEXT_URL_STEM = "https://ref.gs1.org/standards/epcis/"
