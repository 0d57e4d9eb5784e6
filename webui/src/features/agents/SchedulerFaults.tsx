import { Alert, Text } from '@mantine/core'
import { IconAlertTriangle } from '@tabler/icons-react'
import { useTranslation } from 'react-i18next'
import type { AgentListQuery } from '../../gql/graphql'
import { moment } from '../../shared/format'

type Group = AgentListQuery['resourceGroups']['nodes'][number]

/** Resource groups in which nothing can be placed, because a plug-in of their scheduler is at fault. */
export function SchedulerFaults({ groups }: { groups: readonly Group[] }) {
  const { t, i18n } = useTranslation()
  return groups.map(
    ({ id, name, schedulerFault: fault }) =>
      fault && (
        <Alert
          key={id}
          color="red"
          icon={<IconAlertTriangle size={18} aria-hidden />}
          title={t('agents.faultTitle', { name })}
        >
          <Text size="sm">
            {t('agents.fault', { plugin: fault.plugin, since: moment(fault.since, i18n.language) })}
          </Text>
          <Text size="sm" ff="monospace" style={{ overflowWrap: 'anywhere' }}>
            {fault.message}
          </Text>
        </Alert>
      ),
  )
}
