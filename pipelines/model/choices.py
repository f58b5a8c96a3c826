"""Balances and calibrators by name, known without the libraries that they are made of."""

# By name, what each does in words.
BALANCES = {"smote": "SMOTE", "weights": "class weights", "none": "no balancing"}
_CALIBRATION = "dermfuse.pipelines.model.calibration"
# By name, where the class is.
CALIBRATORS = {
    "none": f"{_CALIBRATION}:Uncalibrated",
    "temperature": f"{_CALIBRATION}:Temperature",
    "bias_corrected": f"{_CALIBRATION}:BiasCorrectedTemperature",
    "isotonic": f"{_CALIBRATION}:Isotonic",
    "dirichlet": f"{_CALIBRATION}:Dirichlet",
}
CALIBRATION = "bias_corrected"
