import { Alert, Loader, Paper, Progress, Stack, Text, Timeline, Title } from '@mantine/core'
import { IconClock } from '@tabler/icons-react'
import { useTranslation } from 'react-i18next'
import type { SessionRowFragment } from '../../gql/graphql'
import { bytes, moment } from '../../shared/format'
import { reasonText } from './reasons'

const STEPS = [
  ['waiting', ['PENDING']],
  ['preparing', ['SCHEDULED', 'PREPARING']],
  ['image_step', ['PULLING', 'PREPARED']],
  ['starting', ['CREATING']],
  ['running', ['RUNNING']],
] as const

/** How far a launch is: which step, how much of the image has arrived, or why it waits. */
export function Phases({ session }: { session: SessionRowFragment }) {
  const { t, i18n } = useTranslation()
  const current = STEPS.findIndex(([, statuses]) => (statuses as readonly string[]).includes(session.status))
  return (
    <Paper className="card" radius="md" p="lg">
      <Title order={2} size="h5" mb="md">
        {t('session.phases')}
      </Title>
      {session.pendingReason && (
        <Alert color="yellow" icon={<IconClock size={18} aria-hidden />} mb="md" title={t('sessions.reason')}>
          <Text size="sm">{reasonText(t, session.pendingReason, i18n.language)}</Text>
          {session.pendingReason.position > 0 && (
            <Text size="sm">{t('sessions.position', { position: session.pendingReason.position })}</Text>
          )}
          {session.pendingReason.estimatedStartAt && (
            <Text size="sm">
              {t('sessions.estimate', { at: moment(session.pendingReason.estimatedStartAt, i18n.language) })}
            </Text>
          )}
        </Alert>
      )}
      <Timeline active={current} bulletSize={22} lineWidth={2}>
        {STEPS.map(([name], step) => (
          <Timeline.Item
            key={name}
            title={
              <Text size="sm" fw={step === current ? 600 : 400} c={step > current ? 'dimmed' : undefined}>
                {t(`session.${name}`)}
              </Text>
            }
            bullet={
              step === current && name !== 'running' ? (
                <Loader size={12} color="white" aria-hidden />
              ) : undefined
            }
          >
            {name === 'image_step' && session.pull && (
              <Stack gap={4} maw={360}>
                <Progress
                  value={session.pull.percent ?? 100}
                  animated={session.pull.percent === null}
                  aria-label={t('session.image_step')}
                />
                <Text size="xs" c="dimmed">
                  {bytes(session.pull.current)}
                  {session.pull.total
                    ? ` / ${bytes(session.pull.total)} · ${Math.round(session.pull.percent ?? 0)} %`
                    : ''}
                </Text>
              </Stack>
            )}
          </Timeline.Item>
        ))}
      </Timeline>
    </Paper>
  )
}
