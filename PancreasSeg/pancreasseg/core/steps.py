"""Words for the steps that every run has, whatever its pipeline; a pipeline declares its own beside them."""

WORDS = {
    "read": "Reading the CT",
    "load": "Reading the CT",
    "models": "Loading the model",
    "review": "Checking the result",
    "measure": "Measuring",
    "write": "Writing the results",
    "attention": "Reading where the network looked",
    "send": "Sending the CT to the server",
    "queue": "Waiting for the server: others are before you",
    "reconnect": "The connection was lost; trying again",
}
