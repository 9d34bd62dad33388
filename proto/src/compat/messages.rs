//! All that is asked and answered, by name: read and written again by the code that the programs use.

use prost::{DecodeError, Message};

use crate::wire;

/// Reads a message and writes what it understood.
pub(super) type Again = &'static dyn Fn(&[u8]) -> Result<Vec<u8>, DecodeError>;

macro_rules! messages {
    ($($name:ident)*) => { &[$((stringify!($name), &again::<wire::$name>)),*] };
}

fn again<M: Message + Default>(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    Ok(M::decode(bytes)?.encode_to_vec())
}

#[rustfmt::skip]
pub(super) const MESSAGES: &[(&str, Again)] = messages![
    AcknowledgeRequest AcknowledgeResponse BuildRequest BuildResponse CancelRunRequest
    CancelRunResponse ChallengeRequest ChallengeResponse CompleteRequest CompleteResponse
    ConfirmFencedRequest ConfirmFencedResponse CreateApiTokenRequest CreateApiTokenResponse
    CreateRegistrationTokenRequest CreateRegistrationTokenResponse DeclineRequest DeclineResponse
    DeleteJobRequest DeleteJobResponse DrainExecutorRequest DrainExecutorResponse ExecuteRequest
    ExecuteResponse FetchObjectRequest FetchObjectResponse FetchSecretsRequest FetchSecretsResponse
    GetArtifactRequest GetExecutorRequest GetExecutorResponse GetFleetRequest GetFleetResponse
    GetJobRequest GetJobResponse GetProjectRequest GetProjectResponse GetRunRequest GetRunResponse
    GetScheduleRequest GetScheduleResponse HeartbeatRequest HeartbeatResponse ListApiTokensRequest
    ListApiTokensResponse ListArtifactsRequest ListArtifactsResponse ListEventsRequest
    ListEventsResponse ListExecutorsRequest ListExecutorsResponse ListJobVersionsRequest
    ListJobVersionsResponse ListJobsRequest ListJobsResponse ListNeededRequest ListNeededResponse
    ListProjectsRequest ListProjectsResponse ListRunsRequest ListRunsResponse ListSchedulesRequest
    ListSchedulesResponse ListSecretsRequest ListSecretsResponse OpenSessionRequest
    OpenSessionResponse PauseScheduleRequest PauseScheduleResponse PollProjectRequest
    PollProjectResponse PollRequest PollResponse PushLogRequest PushLogResponse PushObjectRequest
    PushObjectResponse PutJobRequest PutJobResponse PutProjectRequest PutProjectResponse
    QuarantineExecutorRequest QuarantineExecutorResponse ReadLogRequest ReadLogResponse
    RegisterRequest RegisterResponse RemoveExecutorRequest RemoveExecutorResponse
    RemoveProjectRequest RemoveProjectResponse RemoveSecretRequest RemoveSecretResponse
    ReportRequest ReportResponse ResumeExecutorRequest ResumeExecutorResponse ResumeScheduleRequest
    ResumeScheduleResponse RetryRunRequest RetryRunResponse RevokeApiTokenRequest
    RevokeApiTokenResponse RotateApiTokenRequest RotateApiTokenResponse RotateHookRequest
    RotateHookResponse RunScheduleRequest RunScheduleResponse SetSecretRequest SetSecretResponse
    TestHookRequest TestHookResponse WatchRunRequest WatchRunResponse WhyRequest WhyResponse
];
